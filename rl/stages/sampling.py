"""Sampling that is kept: every judged sample is one line of `samples.jsonl` the moment it is judged, so a stage that was
stopped goes on with what is missing and samples nothing twice; what could not be judged is judged again. What `distill`
and `pairs` choose from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewards.combine import PartConfig, RewardConfig
from rl.types import THINK_CLOSE, Message, Prompt, split_think

if TYPE_CHECKING:
    from rewards.service import RewardService
    from rl.stages.context import Context
    from rl.types import Rollout, Scored

SAMPLES = "samples.jsonl"
SHOWN = 256
"""Judged samples of each file that the report shows samples from."""
AHEAD = 256
"""Samples under judgement at once where none has to be generated: a model that judges answers in its own time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample with its verdict, as it is kept."""

    data: str
    split: str | None
    prompt: str
    sample: int
    text: str
    tokens: int
    truncated: bool
    score: float
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str | None = None
    again: Mapping[str, Sequence[float]] | None = None
    """Of one that could not be judged, what else a verifier may ask for: `ids` (all that the engine saw) and `logprobs`."""

    @property
    def key(self) -> tuple[str, int]:
        return self.prompt, self.sample

    @property
    def reasoning(self) -> str:
        return split_think(self.text)[0]

    @property
    def response(self) -> str:
        return split_think(self.text)[1]

    @property
    def whole(self) -> bool:
        """Did it end by itself, with one closed chain and an answer after it?"""
        closed = self.text.count(THINK_CLOSE) == 1 and bool(self.reasoning and self.response)
        return closed and not self.truncated


@dataclass(frozen=True)
class Asking:
    """How prompts are sampled."""

    samples: int
    temperature: float
    max_sequence_tokens: int
    reward: RewardConfig | None = None
    """Another reward than the recipe's."""
    system: str | None = None
    ask: str | None = None


def selected(sources: Mapping[str, Sequence[Prompt]], rule: Mapping[str, Any] | None) -> dict[str, list[Prompt]]:
    """{source: the prompts that a `when` rule of a reward part would name}; all of them without a rule."""
    part = PartConfig("select", when=dict(rule) if rule else None)
    return {name: [prompt for prompt in prompts if part.applies(prompt)] for name, prompts in sources.items()}


def asked(prompt: Prompt, system: str | None, ask: str | None) -> Prompt:
    """The prompt as it is put to the model: with a system turn of its own (in place of one there is), and `ask` after
    the user's last words. What is kept of the sample knows nothing of it."""
    turns = [message for message in prompt.messages if not (system and message.role == "system")]
    if ask:
        last = max(i for i, message in enumerate(turns) if message.role == "user")
        turns[last] = Message("user", f"{turns[last].content}\n{ask}")
    return replace(prompt, messages=(*([Message("system", system)] if system else []), *turns))


def collect_samples(
    asking: Asking, context: Context, sources: Mapping[str, Sequence[Prompt]], split: str | None
) -> list[Sample]:
    """`asking.samples` judged samples of every prompt, in the order of prompts and samples. Raises ValueError when too
    many cannot be judged."""
    from rl.run.progress import Progress

    owner = {prompt.id: name for name, prompts in sources.items() for prompt in prompts}
    file = context.folder / SAMPLES
    kept = {s.key: s for s in read_samples(file) if s.prompt in owner}  # the last line of a sample counts
    have = {key: sample for key, sample in kept.items() if sample.error is None}
    unjudged = [sample for sample in kept.values() if sample.error is not None and sample.again]
    total = len(owner) * asking.samples
    if have or unjudged:
        again = f"; {len(unjudged):,} of them could not be judged and are judged again" if unjudged else ""
        context.say(f"{context.name}: {len(have) + len(unjudged):,} of {total:,} samples are there already{again}")
    if len(have) < total:
        shown, write = list[Any](), appending(file)
        with Progress(context.name, total) as progress:
            progress.advance(len(have), {})
            for scored in _scored(asking, context, sources, {*have}, unjudged):
                fresh = [_kept(s, owner[s.rollout.prompt.id], split) for s in scored]
                write(fresh)
                have |= {sample.key: sample for sample in fresh}
                shown += scored[: SHOWN - len(shown)]
                progress.advance(len(have), {"reward": sum(sample.score for sample in fresh) / len(fresh)})
        context.tracker.record_rollouts(1, shown)
    return [have[id, i] for id in owner for i in range(asking.samples)]


def judged(rewards: RewardService, rollouts: Iterable[Rollout]) -> Iterator[list[Scored]]:
    """What is there already, as it is judged. Raises ValueError when too much of it cannot be."""
    waiting = iter(rollouts)
    while True:
        for rollout in islice(waiting, AHEAD - rewards.pending):
            rewards.submit(rollout)
        if not rewards.pending:
            return
        if scored := rewards.take_finished(1.0):
            yield scored
            rewards.check_errors()


def read_samples(file: Path) -> Iterator[Sample]:
    """What the file holds; a last line that a kill has torn is cut off. Raises ValueError for any other line."""
    if not file.exists():
        return
    with file.open("r+b") as lines:
        whole = 0
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                lines.truncate(whole)
                return
            whole += len(line)
            try:
                yield Sample(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{file}:{number}: {error}; remove the line, it will be sampled again") from error


def _scored(
    asking: Asking,
    context: Context,
    sources: Mapping[str, Sequence[Prompt]],
    have: set[tuple[str, int]],
    unjudged: Sequence[Sample],
) -> Iterator[list[Scored]]:
    """What is missing, as it is judged, on the prompts as they are: first what was sampled already."""
    prompts = {prompt.id: prompt for of_source in sources.values() for prompt in of_source}
    taken = have | {sample.key for sample in unjudged}
    with context.judging(asking.reward) as rewards:
        yield from judged(rewards, (_rollout(sample, prompts[sample.prompt]) for sample in unjudged))
        if len(taken) < len(prompts) * asking.samples:
            yield from _sampled(asking, context, prompts, taken, rewards)


def _sampled(
    asking: Asking,
    context: Context,
    prompts: Mapping[str, Prompt],
    skip: set[tuple[str, int]],
    rewards: RewardService,
) -> Iterator[list[Scored]]:
    from rl.stages.scoring import Scorer

    context.cluster.sampler.load(context.model)
    stream = context.cluster.sampler.generate(
        [asked(prompt, asking.system, asking.ask) for prompt in prompts.values()],
        samples=asking.samples,
        temperature=asking.temperature,
        max_sequence_tokens=asking.max_sequence_tokens,
        seed=context.seed,
        skip=skip,
    )
    # Verifiers see the question that was asked of the data set, not the one that was put to the model.
    restored = ([replace(r, prompt=prompts[r.prompt.id]) for r in rollouts] for rollouts in stream)
    for scored in Scorer(rewards).judged(restored):
        yield scored
        rewards.check_errors()


def _kept(scored: Scored, data: str, split: str | None) -> Sample:
    rollout, verdict = scored.rollout, scored.verdict
    again = (
        {"ids": rollout.tokens.tolist(), "logprobs": rollout.logprobs.tolist()} if verdict.error is not None else None
    )
    return Sample(
        data=data,
        split=split,
        prompt=rollout.prompt.id,
        sample=rollout.sample,
        text=rollout.text,
        tokens=int(rollout.action_mask.sum()),
        truncated=rollout.truncated,
        score=verdict.score,
        parts=dict(verdict.parts),
        error=verdict.error,
        again=again,
    )


def _rollout(sample: Sample, prompt: Prompt) -> Rollout:
    """What was sampled, from what is kept of a sample that could not be judged."""
    import numpy as np

    from rl.types import Rollout

    assert sample.again is not None, "only such a sample keeps its tokens"
    tokens = np.asarray(sample.again["ids"], dtype=np.int64)
    return Rollout(
        prompt=prompt,
        sample=sample.sample,
        tokens=tokens,
        action_mask=np.arange(len(tokens)) >= len(tokens) - sample.tokens,  # the policy speaks once, at the end
        logprobs=np.asarray(sample.again["logprobs"], dtype=np.float32),
        finish_reason="length" if sample.truncated else "stop",
        version=0,
        text=sample.text,
    )


def appending(file: Path) -> Callable[[Sequence[Any]], None]:
    """Adds dataclasses to the file, a line each, whole."""
    from rl.run.files import full_disk_named

    def write(rows: Sequence[Any]) -> None:
        with full_disk_named(file), file.open("ab") as out:
            out.write("".join(json.dumps(asdict(row)) + "\n" for row in rows).encode())

    return write
