"""What each stage will do with how many rows, in words and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from rl.data.mixture import Data, describe, epoch, limits, weights_of
from rl.data.tasks import TASKS
from rl.units import many

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.recipe.loader import Stage


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
    seconds: float = 0.0
    """At most, at the expected pace; 0 without one."""
    sequence_tokens: float | None = None
    """Of a sequence in the mean, by what its data sets expect; None where one of them says nothing."""
    expected_tokens: int = 0
    """Over the whole stage at that length; 0 where none is expected, as the next one."""
    expected_seconds: float = 0.0


@dataclass(frozen=True)
class _Work:
    """A stage with what is known about it."""

    stage: Stage
    recipe: Recipe
    rows: int | None
    """Of its sources together."""
    epoch: int | None
    """Draws after which the first of its sources has been seen once."""
    roughly: str
    """What `rows` is when it is no exact number: `about `, `up to `."""
    length: float | None
    """Expected tokens of a sequence."""

    @property
    def config(self) -> Any:
        return self.stage.config

    @property
    def prompts(self) -> str:
        return self.counted("prompt")

    def counted(self, word: str) -> str:
        if self.rows is None:
            return f"all {word}s of {quoted(self.config.data)}"
        mixed = "" if isinstance(self.config.data, str) else f" of {quoted(self.config.data)}"
        return self.roughly + many(self.rows, word) + mixed

    def optimiser_step(self, sequences: int) -> tuple[str, int]:
        """(micro-batches of a step in words, tokens of the largest)."""
        trainer = self.recipe.header.trainer
        bounds = sequences, self.config.max_sequence_tokens, trainer.tokens_per_microbatch, trainer.ranks
        count, tokens = micro_batches(*bounds)
        ranks = f" on each of {trainer.ranks} ranks" if trainer.ranks > 1 else ""
        return f"≤ {many(count, 'micro-batch')} of ≤ {tokens:,} tokens{ranks}", tokens

    def plan(self, says: str, sequences: int = 0, **numbers: int) -> StagePlan:
        """Of a stage that trains on, or samples, so many `sequences` in all."""
        most = self.config.max_sequence_tokens if sequences else 0
        length = min(self.length, most) if self.length is not None and most else None
        tokens = {"tokens": sequences * most, "expected_tokens": round(sequences * (length or 0))}
        return StagePlan(
            self.stage.name, self.stage.kind, says, self.rows, sequence_tokens=self.length, **numbers, **tokens
        )


def micro_batches(sequences: int, longest: int, budget: int, ranks: int) -> tuple[int, int]:
    """(most micro-batches of a rank, most tokens in one) when `rl.data.collate.pack` packs so many sequences of at most
    `longest` tokens: as many as fit the budget lie side by side, one that does not fit lies alone, and what would be
    less than a budget for each rank is shared out evenly."""
    side_by_side = max(1, budget // max(longest, 1))
    most = ceil(ceil(sequences / side_by_side) / ranks)
    return most, ceil(sequences / ranks) * longest if most == 1 else max(budget, longest)


def stage_plan(
    stage: Stage, recipe: Recipe, available: Mapping[str, int | None], lengths: Mapping[str, float | None]
) -> StagePlan:
    """What `stage` does when its data sets have `available` rows (None: not known before they are read), of which
    sequences of so many tokens are expected (`lengths`; None: of any length)."""
    rows: dict[str, int | None] = {}
    for name, limit in limits(stage.config.data, stage.config.limit).items():
        have = available.get(name)
        rows[name] = have if limit is None or (have or limit) < limit else limit
    known = {name: count for name, count in rows.items() if count is not None}
    whole = sum(known.values()) if len(known) == len(rows) else None
    turn = epoch(known, weights_of(stage.config.data)) if whole else whole
    data = [recipe.header.data.get(name) for name in rows]
    drawn = stage.config.limit is None and any(source and source.source in TASKS for source in data)
    shares = weights_of(stage.config.data)
    expected = [share * length for name, share in shares.items() if (length := lengths.get(name)) is not None]
    length = sum(expected) if len(expected) == len(shares) else None
    roughly = "up to " if None in data else "about " * drawn
    return WORDS[stage.kind](_Work(stage, recipe, whole, turn, roughly, length))


def leaves(stage: Stage, told: StagePlan) -> int | None:
    """Rows at most of the data set that a stage writes; None where it writes none, or nobody knows."""
    each = {"distill": "per_question", "pairs": "per_prompt"}.get(stage.kind)
    return told.rows * getattr(stage.config, each) if each and told.rows is not None else None


def quoted(data: Data) -> str:
    return f"'{data}'" if isinstance(data, str) else describe(data)


def _sft(work: _Work) -> StagePlan:
    config = work.config
    micro_batches, largest = work.optimiser_step(config.sequences_per_step)
    steps = config.steps(work.epoch) if work.epoch else 0
    says = (
        f"{many(config.epochs, 'epoch')} of {work.prompts} → {many(steps, 'optimiser step') if steps else 'steps'} "
        f"of {many(config.sequences_per_step, 'sequence')}, {micro_batches}"
    )
    return work.plan(says, steps * config.sequences_per_step, steps=steps, micro_batch=largest)


def _encode(work: _Work) -> StagePlan:
    config = work.config
    steps = config.steps(work.epoch) if work.epoch else 0
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
    says = (
        f"{getattr(config, 'loss', 'Bradley–Terry')}, {many(config.epochs, 'epoch')} of {work.counted('pair')} → "
        f"{many(steps, 'optimiser step') if steps else 'steps'} of {many(config.pairs_per_step, 'pair')}, {micro_batches}"
    )
    return work.plan(says, steps * config.sequences_per_step, steps=steps, micro_batch=largest)


def _curate(work: _Work) -> StagePlan:
    config = work.config
    rollouts = (work.rows or 0) * config.samples
    says = f"{work.prompts} × {config.samples} samples{_heat(config)}{_rollouts(rollouts, config.max_sequence_tokens)}"
    low, high = config.keep
    says += f"; keeps prompts with {low} to {high} right"
    return work.plan(says, rollouts, rollouts=rollouts)


def _distill(work: _Work) -> StagePlan:
    config = work.config
    rollouts = (work.rows or 0) * config.samples
    by = config.select_by
    judged = f", as far as '{by.verifier}' gives the question {by.least:g} or more," if by else ""
    says = f"{work.prompts}{_chosen(config.select)}{judged} × {config.samples} samples".replace(",,", ",")
    says += _rollouts(rollouts, config.max_sequence_tokens)
    least = ", ".join(f"{name} ≥ {value:g}" for name, value in config.keep.items())
    says += f"; keeps at most {many(config.per_question, 'chain')} of a prompt with {least}"
    return work.plan(says, rollouts, rollouts=rollouts)


def _chosen(rule: Mapping[str, Any] | None) -> str:
    """A `select` in words: `, those from pitch or timbre, with audio,`."""
    rule = dict(rule or {})
    words = [f"from {_or(rule['source'])}"] if "source" in rule else []
    words += [f"{'with' if rule[k] == (k == 'audio') else 'without'} audio" for k in ("audio", "text") if k in rule]
    words += [f"with {name} {_or(wanted)}" for name, wanted in rule.get("field", {}).items()]
    return f", those {', '.join(words)}," if words else ""


def _or(values: Any) -> str:
    *others, last = map(str, values if isinstance(values, list) else [values])
    return f"{', '.join(others)} or {last}" if others else last


def _pairs(work: _Work) -> StagePlan:
    config = work.config
    rollouts = 0 if config.samples_of else (work.rows or 0) * config.samples
    says = (
        f"samples of '{config.samples_of}'"
        if config.samples_of
        else f"{work.prompts}{_chosen(config.select)} × {config.samples} samples"
    )
    says += "" if config.samples_of else _rollouts(rollouts, config.max_sequence_tokens)
    says += (
        f"; at most {many(config.per_prompt, 'pair')} of a prompt, ≥ {config.margin:g} apart in {config.by or 'score'}"
    )
    return work.plan(says, rollouts, rollouts=rollouts)


def _evaluate(work: _Work) -> StagePlan:
    config = work.config
    cuts = sum(budget != "full" for budget in config.budgets)
    rollouts = (work.rows or 0) * (config.samples * (1 + cuts + len(config.controls)) + config.greedy)
    says = f"{work.prompts} × {_samples(config)}{_rollouts(rollouts, config.max_sequence_tokens)}"
    return work.plan(says, rollouts, rollouts=rollouts)


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
        f"{_heat(config)}"
        f"{_rollouts(batch, config.max_sequence_tokens)} → {updates}{micro_batches}\n"
        f"{many(config.steps, 'step')}: {many(drawn, 'prompt')} drawn from {'what is kept of ' if config.difficulty else ''}{work.prompts}"
    )
    says += f" ({drawn / work.rows:.1f} epochs)" if work.rows and not config.difficulty else ""
    says += "; groups of equal scores are drawn anew" if config.resolved().filter_zero_variance else ""
    if config.eval_every and config.eval:
        limit = f"{config.eval.limit:,}" if config.eval.limit else "all"
        says += f"; every {config.eval_every} steps {limit} prompts × {_samples(config.eval)}"
    rollouts = config.steps * batch
    steps = config.steps * config.optimiser_steps
    return work.plan(says, rollouts, rollouts=rollouts, steps=steps, micro_batch=largest)


WORDS: dict[str, Callable[[_Work], StagePlan]] = {
    "encode": _encode,
    "sft": _sft,
    "curate": _curate,
    "distill": _distill,
    "rlvr": _rlvr,
    "pairs": _pairs,
    "dpo": _dpo,
    "reward_model": _dpo,
    "evaluate": _evaluate,
}


def _samples(config: Any) -> str:
    samples = many(config.samples, "sample") + _heat(config)
    samples = f"({samples} + 1 greedy)" if config.greedy else samples
    samples += f", chains cut at {', '.join(map(str, config.budgets))} tokens" if config.budgets else ""
    return samples + (f", again {', '.join(config.controls)}" if config.controls else "")


def _heat(config: Any) -> str:
    """The temperature, where it is not 1."""
    return "" if config.temperature == 1 else f" at temperature {config.temperature:g}"


def _rollouts(count: int, longest: int) -> str:
    return (f" = {many(count, 'rollout')}" if count else "") + f" of ≤ {longest:,} tokens"
