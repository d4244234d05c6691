"""What each stage will do with how many rows, in words and numbers, and what in it cannot come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from rl.data.sources import FILES, DataConfig
from rl.data.tasks import TASKS
from rl.memory import many

if TYPE_CHECKING:
    from rl.recipe import Recipe, Stage

GROUPED = {"grpo", "dr_grpo", "rloo", "reinforce++-baseline"}
"""Advantages that compare a sample with others of its prompt."""

LEAST = {"max_sequence_tokens": 2, "limit": 1, "keep": 1}
"""Of any stage that has such a key (a curate stage's `keep` is a range and checked there)."""


@dataclass(frozen=True)
class StagePlan:
    name: str
    kind: str
    says: str
    """The batch arithmetic in words."""
    rows: int | None = None
    """Prompts it may draw from; None when that is known only at run time."""
    steps: int = 0
    """Optimiser steps."""
    rollouts: int = 0
    tokens: int = 0
    """At most, over the whole stage."""
    micro_batch: int = 0
    """Tokens of the largest micro-batch that one rank trains on."""


@dataclass(frozen=True)
class _Work:
    """A stage with what is known about it."""

    stage: Stage
    recipe: Recipe
    rows: int | None
    limited: bool

    @property
    def config(self) -> Any:
        return self.stage.config

    @property
    def data(self) -> DataConfig:
        return self.recipe.header.data[self.config.data]

    @property
    def prompts(self) -> str:
        if self.rows is None:
            return f"all prompts of '{self.config.data}'"
        about = "about " if self.data.source in TASKS and not self.limited else ""
        return about + many(self.rows, "prompt")

    def optimiser_step(self, sequences: int) -> tuple[str, int]:
        """(micro-batches of a step in words, tokens of the largest)."""
        trainer = self.recipe.header.trainer
        bounds = sequences, self.config.max_sequence_tokens, trainer.tokens_per_microbatch, trainer.ranks
        count, tokens = micro_batches(*bounds)
        ranks = f" on each of {trainer.ranks} ranks" if trainer.ranks > 1 else ""
        return f"≤ {many(count, 'micro-batch')} of ≤ {tokens:,} tokens{ranks}", tokens

    def plan(self, says: str, **numbers: int) -> StagePlan:
        return StagePlan(self.stage.name, self.stage.kind, says, self.rows, **numbers)


def micro_batches(sequences: int, longest: int, budget: int, ranks: int) -> tuple[int, int]:
    """(most micro-batches of a rank, most tokens in one) when `rl.data.collate.pack` packs so many sequences of at most
    `longest` tokens: as many as fit the budget lie side by side, one that does not fit lies alone, and what would be
    less than a budget for each rank is shared out evenly."""
    side_by_side = max(1, budget // max(longest, 1))
    most = ceil(ceil(sequences / side_by_side) / ranks)
    return most, ceil(sequences / ranks) * longest if most == 1 else max(budget, longest)


def stage_plan(stage: Stage, recipe: Recipe, available: int | None) -> StagePlan:
    """What `stage` does when its data set has `available` rows (None: not known before it is read)."""
    limit = stage.config.limit
    rows = available if limit is None or (available or limit) < limit else limit
    return WORDS[stage.kind](_Work(stage, recipe, rows, rows == limit))


def _sft(work: _Work) -> StagePlan:
    config = work.config
    micro_batches, largest = work.optimiser_step(config.sequences_per_step)
    steps = config.steps(work.rows) if work.rows else 0
    says = (
        f"{many(config.epochs, 'epoch')} of {work.prompts} → {many(steps, 'optimiser step') if steps else 'steps'} "
        f"of {many(config.sequences_per_step, 'sequence')}, {micro_batches}"
    )
    tokens = steps * config.sequences_per_step * config.max_sequence_tokens
    return work.plan(says, steps=steps, tokens=tokens, micro_batch=largest)


def _encode(work: _Work) -> StagePlan:
    config = work.config
    steps = config.steps(work.rows) if work.rows else 0
    says = (
        f"{many(config.epochs, 'epoch')} of {work.prompts.replace('prompt', 'clip')} → "
        f"{many(steps, 'optimiser step') if steps else 'steps'} of {many(config.clips_per_step, 'clip')}; "
        f"learns {', '.join(config.labels) if config.labels else 'all labels'}"
    )
    return work.plan(says, steps=steps)


def _dpo(work: _Work) -> StagePlan:
    config = work.config
    micro_batches, largest = work.optimiser_step(config.sequences_per_step)
    steps = config.steps(work.rows) if work.rows else 0
    pairs = f"all pairs of '{config.data}'" if work.rows is None else many(work.rows, "pair")
    says = (
        f"{config.loss}, {many(config.epochs, 'epoch')} of {pairs} → "
        f"{many(steps, 'optimiser step') if steps else 'steps'} of {many(config.pairs_per_step, 'pair')}, {micro_batches}"
    )
    tokens = steps * config.sequences_per_step * config.max_sequence_tokens
    return work.plan(says, steps=steps, tokens=tokens, micro_batch=largest)


def _curate(work: _Work) -> StagePlan:
    config = work.config
    rollouts = (work.rows or 0) * config.samples
    says = f"{work.prompts} × {config.samples} samples{_rollouts(rollouts, config.max_sequence_tokens)}"
    low, high = config.keep
    says += f"; keeps prompts with {low} to {high} right"
    return work.plan(says, rollouts=rollouts, tokens=rollouts * config.max_sequence_tokens)


def _evaluate(work: _Work) -> StagePlan:
    config = work.config
    rollouts = (work.rows or 0) * (config.samples + config.greedy)
    says = f"{work.prompts} × {_samples(config)}{_rollouts(rollouts, config.max_sequence_tokens)}"
    return work.plan(says, rollouts=rollouts, tokens=rollouts * config.max_sequence_tokens)


def _rlvr(work: _Work) -> StagePlan:
    config = work.config
    batch = config.prompts_per_step * config.samples_per_prompt
    one = batch // config.minibatches
    micro_batches, largest = work.optimiser_step(one)
    updates = f"{config.optimiser_steps} optimiser step of " if config.optimiser_steps == 1 else ""
    if config.optimiser_steps > 1:
        updates = f"{many(config.epochs, 'epoch')} × {many(config.minibatches, 'mini-batch')} = "
        updates += f"{config.optimiser_steps} optimiser steps of {many(one, 'rollout')}, each "
    drawn = config.steps * config.prompts_per_step
    says = (
        f"{config.algorithm}, each step {many(config.prompts_per_step, 'prompt')} × {many(config.samples_per_prompt, 'sample')}"
        f"{_rollouts(batch, config.max_sequence_tokens)} → {updates}{micro_batches}\n"
        f"{many(config.steps, 'step')}: {many(drawn, 'prompt')} drawn from {'what is kept of ' if config.difficulty else ''}{work.prompts}"
    )
    says += f" ({drawn / work.rows:.1f} epochs)" if work.rows and not config.difficulty else ""
    says += "; groups of equal scores are drawn anew" if config.resolved().filter_zero_variance else ""
    if config.eval_every and config.eval:
        limit = f"{config.eval.limit:,}" if config.eval.limit else "all"
        says += f"; every {config.eval_every} steps {limit} prompts × {_samples(config.eval)}"
    rollouts = config.steps * batch
    numbers = {"rollouts": rollouts, "tokens": rollouts * config.max_sequence_tokens, "micro_batch": largest}
    return work.plan(says, steps=config.steps * config.optimiser_steps, **numbers)


WORDS: dict[str, Callable[[_Work], StagePlan]] = {
    "encode": _encode,
    "sft": _sft,
    "curate": _curate,
    "rlvr": _rlvr,
    "dpo": _dpo,
    "evaluate": _evaluate,
}


def _samples(config: Any) -> str:
    samples = many(config.samples, "sample")
    return f"({samples} + 1 greedy)" if config.greedy else samples


def _rollouts(count: int, longest: int) -> str:
    return (f" = {many(count, 'rollout')}" if count else "") + f" of ≤ {longest:,} tokens"


# --- what cannot come out ------------------------------------------------------------------------------------------


def problems(stage: Stage, recipe: Recipe, rows: int | None, positions: int | None) -> list[str]:
    """Mistakes of arithmetic in a stage that has `rows` prompts and a model of `positions`, one line each."""
    config, found = stage.config, list[str]()
    inner = getattr(config, "eval", None)
    for place, settings in ((stage.place, config), *([(f"{stage.place}.eval", inner)] if inner else [])):
        for name, least in LEAST.items():
            value = getattr(settings, name, None)
            if isinstance(value, int) and value < least:
                found.append(f"{place}.{name}: must be at least {least}; got {value}")
        longest = getattr(settings, "max_sequence_tokens", 0)
        if positions is not None and longest > positions:
            found.append(
                f"{place}.max_sequence_tokens: {longest} asked for, the model has {positions} positions; lower it"
            )
    if rows == 0 and not found:
        found.append(f"{stage.place}.data: '{config.data}', split '{config.split}', has no rows; choose another split")
    if stage.kind == "sft":
        data = recipe.header.data[config.data]
        if data.source in FILES and not {"response", "messages"} & data.fields.keys():
            found.append(
                f"{stage.place}.data: '{config.data}' has no demonstrations; map `response:` in data.{config.data}.fields"
            )
    return found + (_impossible(stage, rows) if stage.kind == "rlvr" and not found else [])


def _impossible(stage: Stage, rows: int | None) -> list[str]:
    config, goal, place, found = stage.config, stage.config.resolved(), stage.place, list[str]()
    if rows is not None and 0 < rows < config.prompts_per_step:
        found.append(
            f"{place}.prompts_per_step: {config.prompts_per_step} prompts asked for, '{config.data}' has {rows}; "
            "lower it or raise limit"
        )
    if goal.overlong_buffer > config.max_sequence_tokens:
        found.append(
            f"{place}.objective.overlong_buffer: {goal.overlong_buffer} tokens do not fit max_sequence_tokens "
            f"({config.max_sequence_tokens}); make it smaller"
        )
    if config.samples_per_prompt == 1 and goal.filter_zero_variance:
        found.append(
            f"{place}.samples_per_prompt: a group of 1 has no variance and filter_zero_variance drops it; use at least 2"
        )
    return found


def notes(stage: Stage) -> list[str]:
    """What is possible and probably not meant."""
    if stage.kind != "rlvr" or stage.config.samples_per_prompt > 1:
        return []
    advantage = stage.config.resolved().advantage
    if advantage not in GROUPED:
        return []
    return [f"{stage.place}.samples_per_prompt: with 1 sample '{advantage}' has no group to compare it with"]
