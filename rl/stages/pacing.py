"""Measures a model that speaks while it thinks: two decoders of one model, one that thinks and one that speaks.

The procedure is that of `rl.stages.paced_answer`. Both decoders are ordinary samples to the engines: the chain is that of the
sample that thinks before it speaks, which nothing that is said can change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rl.config import ConfigError, did_you_mean
from rl.stages.budgets import refuse_second_chain, second_chain_rate
from rl.stages.paced_answer import MODES, Mode, Pace, Speech, Thoughts, Turn

if TYPE_CHECKING:
    from rl.stages.scoring import Scorer
    from rl.stages.settings import SamplingConfig
    from rl.types import Prompt, Rollout, Scored
    from rollouts.chat_format import ChatFormat
    from rollouts.sampler import Sampler

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

    def of(self, mode: Mode) -> Pace:
        """Return the pace of one mode."""
        return Pace(mode, self.think, self.speak)


@dataclass(frozen=True, slots=True)
class SampledThoughts(Thoughts):
    """The chain of a sample that thought before it spoke."""

    sample: Scored

    @classmethod
    def of(cls, sample: Scored, chat: ChatFormat, max_sequence_tokens: int) -> SampledThoughts:
        """Return the thoughts of a sample."""
        written: list[int] = sample.rollout.tokens[sample.rollout.action_mask].tolist()
        # What the policy did not write is the prompt: no environment answers where `pace` is measured.
        room = max_sequence_tokens - (len(sample.rollout.tokens) - len(written))
        thoughts = Thoughts.read(written, chat, room)
        return cls(thoughts.chain, thoughts.whole, room, sample)


@dataclass(slots=True)
class SampledSpeech(Speech):
    """An answer with the sample that its last turn has left."""

    rollout: Rollout | None = None


@dataclass(frozen=True, slots=True)
class Pacer:
    """Answers to the prompts of an evaluation, paced."""

    config: SamplingConfig
    pace: PaceConfig
    prompts: Sequence[Prompt]
    sampler: Sampler
    seed: int

    def speak(self, mode: Mode, thoughts: Mapping[Key, SampledThoughts]) -> dict[Key, SampledSpeech]:
        """Return an answer for each sample."""
        speeches = {key: SampledSpeech(self.pace.of(mode)) for key in thoughts}
        closing = self.sampler.chat.closing
        # All answers take a turn at a time: engines write those of one turn side by side.
        while turns := {
            key: turn for key in sorted(speeches) if (turn := speeches[key].next_turn(thoughts[key], closing))
        }:
            # The limit is one for all that the engines are asked at a time: those that go on, then those that end.
            for most_tokens in (self.pace.speak, None):
                asked = {key: turn for key, turn in turns.items() if turn.most_tokens == most_tokens}
                for rollout in self._continue(asked, most_tokens):
                    speech = speeches[rollout.prompt.id, rollout.sample]
                    is_cut = rollout.finish_reason == "length" and rollout.error is None
                    speech.add(rollout.tokens[rollout.action_mask].tolist(), is_cut)
                    speech.rollout = rollout
        return speeches

    def _continue(self, turns: Mapping[Key, Turn], most_tokens: int | None) -> list[Rollout]:
        """Return the next piece of each answer."""
        if not turns:
            return []
        from rollouts.seeds import seed_of

        openings = {key: turn.context for key, turn in turns.items()}
        (number,) = {turn.number for turn in turns.values()}  # all began together
        ids = {id for id, _ in openings}
        asked = [prompt for prompt in self.prompts if prompt.id in ids]
        # `generate` takes whole groups; these samples of them have no turn now.
        skip = {(p.id, s) for p in asked for s in range(self.config.samples)} - openings.keys()
        pieces = self.sampler.generate(
            asked,
            samples=self.config.samples,
            temperature=self.config.settled_temperature,
            max_sequence_tokens=self.config.max_sequence_tokens,
            seed=seed_of(self.seed, "speak", number),
            skip=skip,
            openings=openings,
            most_tokens=most_tokens,
        )
        return [rollout for piece in pieces for rollout in piece]

    def judge(
        self, speeches: Mapping[Key, SampledSpeech], thoughts: Mapping[Key, SampledThoughts], scorer: Scorer
    ) -> list[Scored]:
        """Return the answers with their verdicts."""
        # An answer that never began, for want of room, is the sample's own: cut off, too.
        rollouts = [speech.rollout or thoughts[key].sample.rollout for key, speech in speeches.items()]
        texts = {key: self.sampler.chat.written(speech.tokens) for key, speech in speeches.items()}
        return [
            refuse_second_chain(s, texts[s.rollout.prompt.id, s.rollout.sample]) for s in scorer.collect([rollouts])
        ]

    def seconds(self, mode: Mode, thoughts: SampledThoughts) -> float:
        """Return the seconds until the first word of an answer, of a prompt that is asked alone."""
        prompt, pace = thoughts.sample.rollout.prompt, self.pace.of(mode)
        context, _ = thoughts.context(pace.first_segments, pace.segment, self.sampler.chat.closing)
        began = time.monotonic()
        # First the part of the chain for which the first word waits, then that word behind it.
        self._write(prompt, pace.tokens_before(len(thoughts.chain)), ())
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


def measure_pace(
    pacer: Pacer, samples: Sequence[Scored], scorer: Scorer, forget: Callable[[], None]
) -> dict[str, float]:
    """Return for each mode `accuracy@MODE` with its interval (and by source where there are several), `second_chain` (share of the
    answers that closed a chain of their own, none of them right), and means: the tokens before the first word, what the articulation
    decoder read anew, its turns; and the median of the seconds until the first word, of prompts asked one at a time.
    `samples` thought before they spoke; `forget` drops what engines remember of them."""
    import numpy as np

    limit = pacer.config.max_sequence_tokens
    thoughts = {
        (s.rollout.prompt.id, s.rollout.sample): SampledThoughts.of(s, pacer.sampler.chat, limit)
        for s in samples
        if s.rollout.error is None
    }
    closing = len(pacer.sampler.chat.closing)
    # Those with room for a word behind any of the contexts.
    timed = [t for (_, sample), t in thoughts.items() if sample == 0 and t.whole and len(t.whole) + closing < t.room]
    timed = timed[:TIMED_PROMPTS]
    metrics: dict[str, float] = {}
    for mode in pacer.pace.modes:
        # `tbs` is how the samples themselves were answered.
        speeches = {} if mode == "tbs" else pacer.speak(mode, thoughts)
        answers = list(samples) if mode == "tbs" else pacer.judge(speeches, thoughts, scorer)
        figures = accuracy_by_source(answers)
        figures["second_chain"] = second_chain_rate(answers)
        before = [pacer.pace.of(mode).tokens_before(len(t.chain)) for t in thoughts.values()]
        figures["tokens_before"] = float(np.mean(before))
        # `tbs` has no speeches: one decoder writes it all in one turn, and nothing is read anew.
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
