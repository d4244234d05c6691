"""Samples that `distill`, `pairs` and `arbitrate` choose from. Each is one line of `samples.jsonl` the moment it is
judged, so that a stage that was stopped goes on with what is missing and samples nothing twice; a sample that could not
be judged is judged again.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rl.json_files import is_whole, read_records
from rl.messages import open_turn
from rl.think import THINK_CLOSE, Turn, answer_of, split_think
from rl.types import Message, Prompt, Rollout

if TYPE_CHECKING:
    from rewards.service import RewardService
    from rl.stages.context import Context
    from rl.stages.settings import CandidatesConfig
    from rl.types import Scored

SAMPLES = "samples.jsonl"
RECORDED_SAMPLES = 256
"""Judged samples of a stage that are recorded for the report."""
FIX = "remove it, and what it held is sampled again"
"""Advice at the end of an error about a damaged file, or a damaged line of it."""
AHEAD = 256
"""Samples under judgement at once where none has to be generated: a judge answers in its own time."""


@dataclass(frozen=True, slots=True)
class Sample(Turn):
    """A sample with its verdict, as a line of `samples.jsonl` holds it."""

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
    """Data that a verifier may ask for beside the text when a sample that could not be judged is judged again: `ids`
    (all that the engine saw) and `logprobs`; None for a sample with a verdict, and for one with an environment, which
    is sampled again."""
    written: str | None = None
    """The part of the text that the policy wrote, where an environment has put something into its turn."""
    turns: int = 1
    """Turns of the policy, of which `text` is the last."""
    teacher: str | None = None
    """Name of who wrote a chain that is not the model's own, where it is known."""

    @property
    def key(self) -> tuple[str, int]:
        """Return (prompt, number) of the sample, which no other sample of the stage has."""
        return self.prompt, self.sample

    @property
    def demonstration(self) -> tuple[str, str]:
        """Return (chain, answer) as another model is to write them: what an environment says is not among it."""
        return (
            (self.reasoning, self.response)
            if self.written is None
            else (split_think(self.written)[0], answer_of(self.written))
        )

    @property
    def whole(self) -> bool:
        """Return whether the sample ended by itself, with one closed chain and an answer after it."""
        has_one_chain = self.text.count(THINK_CLOSE) == 1 and bool(self.reasoning and self.response)
        return has_one_chain and not self.truncated


def collect_samples(
    config: CandidatesConfig, context: Context, sources: Mapping[str, Sequence[Prompt]]
) -> list[Sample]:
    """Return `config.samples` judged samples of every prompt, in the order of prompts and samples. Raises ValueError when
    too many cannot be judged."""
    source_of = {prompt.id: name for name, prompts in sources.items() for prompt in prompts}
    file = context.folder / SAMPLES
    # The last line of a sample counts: one that was judged again has an earlier line with its error.
    stored_samples = {
        sample.key: sample
        for sample in read_samples(file)
        if sample.prompt in source_of and sample.sample < config.samples
    }
    samples = {key: sample for key, sample in stored_samples.items() if sample.error is None}
    without_verdict = [sample for sample in stored_samples.values() if sample.error is not None and sample.again]
    total = len(source_of) * config.samples
    if samples or without_verdict:
        again = (
            f"; {len(without_verdict):,} of them could not be judged and are judged again" if without_verdict else ""
        )
        context.say(
            f"{context.name}: {len(samples) + len(without_verdict):,} of {total:,} samples are there already{again}"
        )
    if len(samples) < total:
        stream = _missing_samples(config, context, sources, {*samples}, without_verdict)
        judge_stream(context, stream, samples, total, lambda id: (source_of[id], config.split))
    return [samples[id, i] for id in source_of for i in range(config.samples)]  # the file has them as they ended


def judge_stream(
    context: Context,
    stream: Iterable[Sequence[Scored]],
    samples: dict[tuple[str, int], Sample],
    total: int,
    place_of: Callable[[str], tuple[str, str | None]],
) -> None:
    """Store the samples of the stream in the stage's file as they are judged, and add them to `samples`, of which there will be
    `total`. `place_of`: the data set and split of a prompt, by its id."""
    from rl.run.progress import Progress

    to_record, write = list[object](), line_appender(context.folder / SAMPLES)
    with Progress(context.name, total) as progress:
        progress.advance(len(samples), {})
        for scored in stream:
            fresh = [_sample(s, *place_of(s.rollout.prompt.id)) for s in scored]
            write(fresh)
            samples |= {sample.key: sample for sample in fresh}
            to_record += scored[: RECORDED_SAMPLES - len(to_record)]
            scores = [sample.score for sample in fresh if sample.error is None]
            progress.advance(len(samples), {"reward": sum(scores) / len(scores)} if scores else {})
    context.tracker.record_rollouts(1, to_record)


def with_instructions(prompt: Prompt, system: str | None, ask: str | None) -> Prompt:
    """Return the prompt as it is put to the model: with a system turn of its own (in place of one there is), and `ask`
    after the user's last words. What is stored of the sample knows nothing of it."""
    turns = [message for message in prompt.messages if not (system and message.role == "system")]
    if ask:
        last = max(i for i, message in enumerate(turns) if message.role == "user")
        turns[last] = Message("user", f"{turns[last].content}\n{ask}")
    if system:
        turns.insert(0, Message("system", system))
    return replace(prompt, messages=tuple(turns))


def judge_rollouts(rewards: RewardService, rollouts: Iterable[Rollout]) -> Iterator[list[Scored]]:
    """Yield rollouts that exist already, as they are judged. Raises ValueError when too many cannot be judged."""
    waiting = iter(rollouts)
    while True:
        for rollout in islice(waiting, AHEAD - rewards.pending):
            rewards.submit(rollout)
        if not rewards.pending:
            return
        if scored := rewards.take_finished(1.0):
            yield scored
            rewards.check_errors()  # afterwards: what is judged has been stored when this ends the stage


def read_samples(file: Path) -> Iterator[Sample]:
    """Yield the samples of the file; a last line that a kill has torn is left out. Raises ValueError for any other that
    is damaged."""
    for place, sample in read_records(Sample, file, FIX):
        if not all(map(math.isfinite, (sample.score, *sample.parts.values()))):
            raise ValueError(f"{place}: score or parts hold what is no finite number; {FIX}")
        if sample.again:
            _check_again(sample.again, sample.tokens, place)
        yield sample


def _check_again(again: Mapping[str, Sequence[float]], tokens: int, place: str) -> None:
    """Raise ValueError unless `again` holds what `_rollout` takes from it: the last `tokens` of the ids are the policy's."""
    ids, logprobs = again.get("ids", ()), again.get("logprobs", ())
    if not all(is_whole(id, 0) for id in ids) or not tokens == len(logprobs) <= len(ids):
        raise ValueError(f"{place}: again holds no ids and logprobs of a sample of {tokens:,} tokens; {FIX}")


def _missing_samples(
    config: CandidatesConfig,
    context: Context,
    sources: Mapping[str, Sequence[Prompt]],
    finished_keys: set[tuple[str, int]],
    without_verdict: Sequence[Sample],
) -> Iterator[list[Scored]]:
    """Yield what is missing, as it is judged, on the prompts as they are: first the samples that exist already."""
    prompts = {prompt.id: prompt for of_source in sources.values() for prompt in of_source}
    # What is judged again is there already: it must not be sampled as well.
    known_keys = finished_keys | {sample.key for sample in without_verdict}
    with context.reward_service(config.stage_reward) as rewards:
        yield from judge_rollouts(rewards, (_rollout(sample, prompts[sample.prompt]) for sample in without_verdict))
        # Else no engine is needed, and the model is not even loaded.
        if len(known_keys) < len(prompts) * config.samples:
            yield from _fresh_samples(config, context, prompts, known_keys, rewards)


def _fresh_samples(
    config: CandidatesConfig,
    context: Context,
    prompts: Mapping[str, Prompt],
    skip: set[tuple[str, int]],
    rewards: RewardService,
) -> Iterator[list[Scored]]:
    """Yield new samples as they are judged, without those in `skip`."""
    from rl.stages.scoring import Scorer

    context.cluster.sampler.load(context.model)
    stream = context.cluster.sampler.generate(
        [with_instructions(prompt, config.system, config.ask) for prompt in prompts.values()],
        samples=config.samples,
        temperature=config.settled_temperature,
        max_sequence_tokens=config.max_sequence_tokens,
        seed=context.seed,
        skip=skip,
    )
    # Verifiers see the question that was asked of the data set, not the one that was put to the model.
    original_rollouts = ([replace(r, prompt=prompts[r.prompt.id]) for r in rollouts] for rollouts in stream)
    for scored in Scorer(rewards).stream(original_rollouts):
        yield scored
        rewards.check_errors()  # afterwards, as in `judge_rollouts`


def _sample(scored: Scored, data: str, split: str | None) -> Sample:
    """Return what is stored of a judged sample."""
    rollout, verdict = scored.rollout, scored.verdict
    again = None
    if verdict.error is not None and rollout.error is None and not rollout.exchanges:
        again = {"ids": rollout.tokens.tolist(), "logprobs": rollout.logprobs.tolist()}
    pieces = last_turn_pieces(rollout)
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
        written="".join(pieces) if len(pieces) > 1 else None,  # one piece is the text itself
        turns=1 + sum(not exchange.is_inside and not exchange.reply.last for exchange in rollout.exchanges),
    )


def last_turn_pieces(rollout: Rollout) -> list[str]:
    """Return what the policy wrote in the last turn of a rollout, cut where an environment put something into it."""
    pieces: list[str] = []
    exchanges = [exchange for exchange in rollout.exchanges if not exchange.reply.last]
    for exchange in exchanges:
        # A reply that opens a new turn ends the turn before it, of which nothing is kept.
        pieces = [*pieces, exchange.text] if exchange.is_inside else []
    return [*pieces, rollout.text[len(open_turn(exchanges)) :]]


def _rollout(sample: Sample, prompt: Prompt) -> Rollout:
    """Return the rollout again, from what is stored of a sample that could not be judged."""
    import numpy as np

    assert sample.again is not None, "only a sample without a verdict stores its tokens"
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


def means_by_part(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the mean score, tokens and parts of the verdicts."""
    values = defaultdict[str, list[float]](list)
    for sample in samples:
        for name, value in {"score": sample.score, "tokens": sample.tokens, **sample.parts}.items():
            values[name].append(value)
    return {name: sum(numbers) / len(numbers) for name, numbers in values.items()}


def line_appender(file: Path) -> Callable[[Sequence[object]], None]:
    """Return a function that adds dataclasses to the file, a line each, whole; a line that a kill has torn is cut off."""
    from rl.run.files import detect_full_disk, drop_torn_line

    drop_torn_line(file)

    def write(rows: Sequence[object]) -> None:
        with detect_full_disk(file), file.open("ab") as out:
            out.write("".join(json.dumps(asdict(row)) + "\n" for row in rows).encode())

    return write
