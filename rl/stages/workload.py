"""The work of a stage in words and numbers: the vocabulary of each stage's `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from rl.data.mixture import quoted
from rl.stages.settings import PairTrainingConfig, SamplingConfig, StageConfig
from rl.units import many
from rl.workers.trainer_config import TrainerConfig


@dataclass(frozen=True)
class StagePlan:
    """A stage's work before it is done. Counts are upper bounds unless they are called expected; 0 where unknown."""

    name: str
    kind: str
    summary: str
    """The batch arithmetic in words."""
    rows: int | None = None
    """Prompts it may draw from; None when that is known only at run time."""
    rows_made: int | None = None
    """Rows at most of the data set that it writes; None where it writes none, or nobody knows."""
    steps: int = 0
    """Optimiser steps."""
    rollouts: int = 0
    """Samples that the engines draw."""
    tokens: int = 0
    """Tokens of all its sequences."""
    micro_batch: int = 0
    """Tokens of the largest micro-batch that one rank trains on."""
    updates: int = 0
    """Passes forward and backward of each token, over all models that learn."""
    forwards: int = 0
    """Passes forward alone of each token."""
    records: bool = False
    """True if its samples are stored with their texts."""
    checkpoints: int = 0
    """States of a learning model, with its optimizer, that stay on disk at once."""
    learners: int = 0
    """Models whose states make one checkpoint."""
    sequence_tokens: float | None = None
    """Mean tokens of a sequence, as its data sets expect; None where one of them expects none."""
    expected_tokens: int = 0
    """Tokens of all its sequences at that length."""
    seconds: float = 0.0
    """Time at the expected pace; 0 where no pace is known."""
    expected_seconds: float = 0.0
    """Time at the expected pace and length."""
    training_seconds: float = 0.0
    """Of `seconds`, those in which trainers work."""
    sampling_seconds: float = 0.0
    """Likewise of its engines; with a `max_lag` they may work at the same time."""
    time_formula: str = ""
    """Formula of the seconds, with its numbers."""


@dataclass(frozen=True)
class Work:
    """A stage with what is known about its data before it runs."""

    name: str
    kind: str
    config: StageConfig
    trainer: TrainerConfig
    rows: int | None
    """Rows of its sources together; None when that is known only at run time."""
    epoch: int | None
    """Draws after which the first of its sources has been seen once."""
    prefix: str = ""
    """Words before `rows` where it is no exact number: `about `, `up to `."""
    length: float | None = None
    """Expected tokens of a sequence."""

    @property
    def prompts(self) -> str:
        """Number of prompts, in words."""
        return self.count("prompt")

    def count(self, word: str) -> str:
        """Return how many rows, each called `word`: `about 1,000 prompts of spoken (70 %) + text (30 %)`."""
        data = self.config.data
        if self.rows is None:
            return f"all {word}s of {quoted(data)}"
        mixture = "" if isinstance(data, str) else f" of {quoted(data)}"
        return self.prefix + many(self.rows, word) + mixture

    def optimiser_step(self, sequences: int, max_sequence_tokens: int) -> tuple[str, int]:
        """Return (the micro-batches of a step of so many sequences in words, tokens of the largest)."""
        trainer = self.trainer
        sharing, budget = trainer.sequence_parallel, trainer.tokens_per_microbatch
        # Ranks that share sequences work as one, with the budgets of all of them: each takes its part of the tokens.
        groups = max(1, trainer.ranks // sharing)
        count, tokens = micro_batches(sequences, max_sequence_tokens, budget * sharing, groups)
        ranks = f" on each of {trainer.ranks} ranks" if trainer.ranks > 1 else ""
        if sharing > 1:
            ranks = f" on each of {many(groups, 'group')} of {sharing} ranks, {ceil(tokens / sharing):,} a rank"
        return f"≤ {many(count, 'micro-batch')} of ≤ {tokens:,} tokens{ranks}", ceil(tokens / sharing)

    def plan(
        self,
        summary: str,
        sequences: int = 0,
        max_sequence_tokens: int = 0,
        records: bool = False,
        **counts: int | None,
    ) -> StagePlan:
        """Return the plan of a stage that trains on, or samples, so many `sequences` in all; `counts` are further
        fields of StagePlan."""
        length = 0.0
        if self.length is not None:
            # The expectation is the data set's own, and knows nothing of the stage's limit.
            length = min(self.length, max_sequence_tokens)
        return StagePlan(
            self.name,
            self.kind,
            summary,
            self.rows,
            records=records,
            sequence_tokens=self.length,
            tokens=sequences * max_sequence_tokens,
            expected_tokens=round(sequences * length),
            **counts,  # type: ignore[arg-type]
        )


def micro_batches(sequences: int, longest: int, budget: int, ranks: int) -> tuple[int, int]:
    """Return (most micro-batches of a rank, most tokens in one) when `rl.data.collate.pack` packs so many sequences of at
    most `longest` tokens: as many as fit the budget lie side by side, one that does not fit lies alone, and what would
    be less than a budget for each rank is shared out evenly."""
    side_by_side = max(1, budget // max(longest, 1))
    count = ceil(ceil(sequences / side_by_side) / ranks)
    return count, ceil(sequences / ranks) * longest if count == 1 else max(budget, longest)


def pair_training_plan(config: PairTrainingConfig, work: Work, loss: str, **counts: int) -> StagePlan:
    """Return the plan of a stage that learns from preference pairs by `loss`."""
    micro_batches, largest = work.optimiser_step(config.sequences_per_step, config.max_sequence_tokens)
    steps = config.steps(work.rows) if work.rows else 0
    summary = (
        f"{loss}, {many(config.epochs, 'epoch')} of {work.count('pair')} → "
        f"{steps_in_words(steps)} of {many(config.pairs_per_step, 'pair')}, {micro_batches}"
    )
    sequences = steps * config.sequences_per_step
    return work.plan(
        summary, sequences, config.max_sequence_tokens, steps=steps, micro_batch=largest, updates=1, **counts
    )


def steps_in_words(steps: int) -> str:
    """Return `125 optimiser steps`, or `steps` where their number is known only at run time."""
    return many(steps, "optimiser step") if steps else "steps"


def selection_in_words(rule: Mapping[str, object] | None) -> str:
    """Return a `select` rule in words: `, those from pitch or timbre, with audio,`; empty without one."""
    rule = dict(rule or {})
    words: list[str] = []
    if "source" in rule:
        words.append(f"from {alternatives(rule['source'])}")
    for key in ("audio", "text"):
        if key in rule:
            with_audio = rule[key] == (key == "audio")
            words.append(f"{'with' if with_audio else 'without'} audio")
    fields = rule.get("field", {})
    assert isinstance(fields, Mapping)
    words += [f"with {name} {alternatives(values)}" for name, values in fields.items()]
    return f", those {', '.join(words)}," if words else ""


def alternatives(values: object) -> str:
    """Return `a, b or c` of a list, or the value alone."""
    *first, last = map(str, values if isinstance(values, list) else [values])
    return f"{', '.join(first)} or {last}" if first else last


def temperature_in_words(temperature: float | None) -> str:
    """Return ` at temperature 0.7`, or nothing where it is 1."""
    return "" if temperature == 1 else f" at temperature {temperature:g}"


def rollouts_in_words(count: int, longest: int) -> str:
    """Return ` = 8,000 rollouts of ≤ 512 tokens`; without a count where that is not known."""
    number = f" = {many(count, 'rollout')}" if count else ""
    return f"{number} of ≤ {longest:,} tokens"


def samples_in_words(config: SamplingConfig) -> str:
    """Return `8 samples at temperature 0.7`."""
    return many(config.samples, "sample") + temperature_in_words(config.temperature)
