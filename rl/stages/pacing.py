"""Measures a model that speaks while it thinks: two decoders of one model, one that thinks and one that speaks.

The formulation decoder writes the chain, `think` tokens at a time. The articulation decoder is given what there is of the chain,
closed by force, with what it has said so far, and says `speak` tokens more; once the chain has ended it is given the whole chain
and ends its answer (Mind-Paced Speaking, arXiv 2510.09592, section 3). Only token ids are put together, nothing is encoded
again. Both decoders are ordinary samples to the engines: the chain is that of the sample that thinks before it speaks, which
nothing that is said can change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, cast, get_args

from rl.config import ConfigError, did_you_mean

if TYPE_CHECKING:
    from rl.stages.scoring import Scorer
    from rl.stages.settings import SamplingConfig
    from rl.types import Prompt, Rollout, Scored
    from rollouts.chat_format import ChatFormat
    from rollouts.sampler import Sampler

Mode = Literal["wo", "tbs", "think_first", "speak_first"]
MODES: tuple[str, ...] = get_args(Mode)
Key = tuple[str, int]
"""(prompt id, sample)."""
TIMED_PROMPTS = 8
"""Prompts that are asked one at a time, for the seconds until the first word."""


@dataclass(frozen=True)
class PaceConfig:
    """Answers that begin before the chain has ended."""

    mode: str | list[str] = "think_first"
    """`think_first`: the first words wait for one segment of the chain. `speak_first`: for none. `tbs` (think before speak): for the
    whole chain, as ever. `wo`: without a chain. Several are measured one after the other, on the same chains."""
    think: int = 80
    """Tokens of a segment of the chain."""
    speak: int = 20
    """Tokens that are said for each segment. The paper's 100 are 20 of text and 80 of sound."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for empty segments and for no mode."""
        if self.think < 1 or self.speak < 1:
            raise ConfigError(
                f"{place}: think and speak are tokens of a segment, at least 1; got {self.think} and {self.speak}"
            )
        for mode in self.modes:
            if mode not in MODES:
                raise ConfigError(f"{place}.mode: no mode '{mode}'{did_you_mean(mode, MODES)}")
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise ConfigError(f"{place}.mode: name each mode once, and one at least")

    @property
    def modes(self) -> list[Mode]:
        """The modes, always as a list."""
        return cast("list[Mode]", [self.mode] if isinstance(self.mode, str) else self.mode)


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The chain of one sample, as the formulation decoder writes it."""

    chain: Sequence[int]
    """Ids before the tag that closes it."""
    whole: Sequence[int]
    """Ids up to the answer, with the closing tag as the model has written it; empty where it never closed."""
    room: int
    """Tokens that the chain and the answer may have together."""
    sample: Scored
    """The sample that thought before it spoke."""

    @classmethod
    def of(cls, sample: Scored, chat: ChatFormat, max_sequence_tokens: int) -> Thoughts:
        """Return the thoughts of a sample that thought before it spoke."""
        from rl.think import THINK_CLOSE

        written: list[int] = sample.rollout.tokens[sample.rollout.action_mask].tolist()
        room = max_sequence_tokens - (len(sample.rollout.tokens) - len(written))
        count = chat.chain_length(written)
        if count == len(written):
            return cls(written, (), room, sample)

        def behind_tag(end: int) -> str | None:
            """Return the text behind the tag that closes the chain; None before its end."""
            text = chat.written(written[:end])
            return text[place:] if len(text) >= place else None

        # The last tag, as `chain_length` takes it: a chain may quote one.
        place = chat.written(written).rfind(THINK_CLOSE) + len(THINK_CLOSE)
        end = next(n for n in range(count + 1, len(written) + 1) if behind_tag(n) is not None)
        # The line break that belongs to the tag comes before the answer, where the model has written one.
        suffix = chat.written(chat.closing).rpartition(THINK_CLOSE)[2]
        while end < len(written) and (text := behind_tag(end + 1)) and suffix.startswith(text):
            end += 1
        return cls(written[:count], written[:end], room, sample)

    def context(self, segments: int, size: int, closing: Sequence[int]) -> tuple[list[int], bool]:
        """Return (ids in front of the answer after so many segments, whether the chain has ended)."""
        if self.whole and segments * size >= len(self.chain):
            return list(self.whole), True
        thought = list(self.chain[: segments * size])
        return [*thought, *closing], len(thought) == len(self.chain) and segments > 0


@dataclass(slots=True)
class Speech:
    """An answer that grows segment by segment."""

    tokens: list[int] = field(default_factory=list[int])
    turns: int = 0
    prefill: int = 0
    """Tokens that the articulation decoder read anew: those of its context that its context of the turn before does not begin
    with."""
    context: list[int] = field(default_factory=list[int])
    rollout: Rollout | None = None
    """The answer as it was when the last turn ended."""

    def open(self, thoughts: Sequence[int]) -> list[int]:
        """Return the context of the next turn, and count what is read."""
        context = [*thoughts, *self.tokens]
        known = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.context, context, strict=False)))
        self.prefill += len(context) - known
        self.context, self.turns = context, self.turns + 1
        return context

    def add(self, rollout: Rollout) -> None:
        """Take what the turn has said."""
        self.tokens += rollout.tokens[rollout.action_mask].tolist()
        self.rollout = rollout


@dataclass(frozen=True, slots=True)
class Pacer:
    """Answers to the prompts of an evaluation, paced."""

    config: SamplingConfig
    pace: PaceConfig
    prompts: Sequence[Prompt]
    sampler: Sampler
    seed: int

    def speak(self, mode: Mode, thoughts: Mapping[Key, Thoughts]) -> dict[Key, Speech]:
        """Return an answer for each sample."""
        speeches = {key: Speech() for key in thoughts}
        speaking, segments = set(thoughts), 0 if mode in ("wo", "speak_first") else 1
        while speaking:
            contexts: dict[Key, tuple[list[int], bool]] = {}
            for key in sorted(speaking):
                ids, is_over = thoughts[key].context(segments, self.pace.think, self.sampler.chat.closing)
                if len(ids) + len(speeches[key].tokens) < thoughts[key].room:
                    contexts[key] = speeches[key].open(ids), is_over or mode == "wo"
                else:  # the chain has left no room: the answer stays as it is
                    speaking.discard(key)
            for is_last in (False, True):
                openings = {key: ids for key, (ids, is_over) in contexts.items() if is_over == is_last}
                for rollout in self._continue(openings, None if is_last else self.pace.speak, segments):
                    key = rollout.prompt.id, rollout.sample
                    speeches[key].add(rollout)
                    # It goes on after the next segment, unless it has ended its turn or there is no room left.
                    if is_last or rollout.finish_reason != "length" or rollout.error is not None:
                        speaking.discard(key)
            segments += 1
        return speeches

    def _continue(self, openings: Mapping[Key, Sequence[int]], most_tokens: int | None, turn: int) -> list[Rollout]:
        """Return the next piece of each answer, behind these ids."""
        if not openings:
            return []
        from rollouts.seeds import seed_of

        ids = {id for id, _ in openings}
        asked = [prompt for prompt in self.prompts if prompt.id in ids]
        skip = {(p.id, s) for p in asked for s in range(self.config.samples)} - openings.keys()
        pieces = self.sampler.generate(
            asked,
            samples=self.config.samples,
            temperature=self.config.settled_temperature,
            max_sequence_tokens=self.config.max_sequence_tokens,
            seed=seed_of(self.seed, "speak", turn),
            skip=skip,
            openings=openings,
            most_tokens=most_tokens,
        )
        return [rollout for piece in pieces for rollout in piece]

    def seconds(self, mode: Mode, thoughts: Thoughts) -> float:
        """Return the seconds until the first word of an answer, of a prompt that is asked alone."""
        prompt = thoughts.sample.rollout.prompt
        segments, size = (0 if mode in ("wo", "speak_first") else 1), self.pace.think
        if mode == "tbs":
            size = max(1, len(thoughts.chain))
        context, _ = thoughts.context(segments, size, self.sampler.chat.closing)
        began = time.monotonic()
        if segments:
            self._write(prompt, min(len(thoughts.chain), size), ())
        self._write(prompt, 1, context)
        return time.monotonic() - began

    def _write(self, prompt: Prompt, tokens: int, opening: Sequence[int]) -> None:
        """Let an engine write so many tokens, and wait for them."""
        if tokens > 0:
            settings = self.config.settled_temperature, self.config.max_sequence_tokens
            pieces = self.sampler.generate(
                [prompt],
                samples=1,
                temperature=settings[0],
                max_sequence_tokens=settings[1],
                seed=self.seed,
                openings={(prompt.id, 0): opening} if opening else {},
                most_tokens=tokens,
            )
            for _ in pieces:
                pass


def tokens_before(mode: Mode, chain: int, think: int) -> int:
    """Return the tokens that are written before the first one of the answer, of a chain of so many."""
    return {"wo": 0, "speak_first": 0, "think_first": min(chain, think), "tbs": chain}[mode]


def measure_pace(
    pacer: Pacer, samples: Sequence[Scored], scorer: Scorer, forget: Callable[[], None]
) -> dict[str, float]:
    """Return for each mode `accuracy@MODE` with its interval (and by source where there are several), and means: the tokens before
    the first word, what the articulation decoder read anew, its turns; and the median of the seconds until the first word, of
    prompts asked one at a time. `samples` thought before they spoke; `forget` drops what engines remember of them."""
    import numpy as np

    limit = pacer.config.max_sequence_tokens
    thoughts = {
        (s.rollout.prompt.id, s.rollout.sample): Thoughts.of(s, pacer.sampler.chat, limit)
        for s in samples
        if s.rollout.error is None
    }
    closing = len(pacer.sampler.chat.closing)
    # Those with room for a word behind any of the contexts.
    timed = [t for (_, sample), t in thoughts.items() if sample == 0 and t.whole and len(t.whole) + closing < t.room]
    timed = timed[:TIMED_PROMPTS]
    metrics: dict[str, float] = {}
    for mode in pacer.pace.modes:
        speeches = {} if mode == "tbs" else pacer.speak(mode, thoughts)
        # An answer that never began, for want of room, is the sample's own: cut off, too.
        rollouts = [speech.rollout or thoughts[key].sample.rollout for key, speech in speeches.items()]
        answers = list(samples) if mode == "tbs" else scorer.collect([rollouts])
        figures = accuracy_by_source(answers)
        before = [tokens_before(mode, len(t.chain), pacer.pace.think) for t in thoughts.values()]
        figures["tokens_before"] = float(np.mean(before))
        figures["prefill_tokens"] = float(np.mean([speech.prefill for speech in speeches.values()] or [0.0]))
        figures["turns"] = float(np.mean([speech.turns for speech in speeches.values()] or [1.0]))
        if timed:
            forget()  # else the engine would have the prompts and chains at hand
            figures["seconds_before"] = float(np.median([pacer.seconds(mode, t) for t in timed]))
        for name, value in figures.items():
            head, slash, rest = name.partition("/")
            metrics[f"{head}@{mode}{slash}{rest}"] = value
    return metrics


def accuracy_by_source(scored: Sequence[Scored]) -> dict[str, float]:
    """Return the mean accuracy over prompts with its interval, and `in/SOURCE` where there are several sources."""
    import numpy as np

    from rl.stages.scoring import by_prompt, is_correct, with_interval

    groups = [group for group in by_prompt(scored).values() if group]
    shares = [float(np.mean([is_correct(s) for s in group])) for group in groups]
    sources: dict[str, list[float]] = {}
    for group, share in zip(groups, shares, strict=True):
        sources.setdefault(group[0].rollout.prompt.source, []).append(share)
    parts = {f"accuracy/{source}": float(np.mean(values)) for source, values in sorted(sources.items())}
    return with_interval("accuracy", shares) | (parts if len(sources) > 1 else {})
