"""Estimates how long a stage takes, from the pace of training and sampling that the recipe states (cluster.expect)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.shape import Shape

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.stages.workload import StagePlan
    from rl.workers.placement import ExpectConfig


def add_durations(stage_plan: StagePlan, recipe: Recipe, shape: Shape, expect: ExpectConfig) -> StagePlan:
    """Return the plan with its seconds at full length, and at the expected lengths where there are some."""
    return replace(
        stage_plan,
        seconds=seconds(stage_plan, stage_plan.tokens, recipe, shape, expect),
        expected_seconds=seconds(stage_plan, stage_plan.expected_tokens, recipe, shape, expect),
    )


def seconds(stage_plan: StagePlan, tokens: int, recipe: Recipe, shape: Shape, expect: ExpectConfig) -> float:
    """Return the seconds for so many tokens, starting and loading left out. 0 where no pace is stated.

    2 P operations for a token forward and 4 P backward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), 2 P more
    where gradient checkpointing works the layers again; attention's own, about an eighth of that at 10,240 tokens of a
    33B model, are left to the pace. Beside an adapter the backward pass spares the gradients of the weights: 2 P less."""
    if expect.train_tflops is None or expect.engine_tokens_per_second is None:
        return 0.0
    update, forward = 8 if recipe.header.model.gradient_checkpointing else 6, 2
    if recipe.header.model.lora:
        update -= 2
    operations = update * stage_plan.updates + forward * stage_plan.forwards
    sampled_tokens = tokens if stage_plan.rollouts else 0
    trainer, engines = recipe.header.trainer, recipe.header.engines
    learning = operations * shape.active * tokens / (trainer.ranks * expect.train_tflops * 1e12)
    return learning + sampled_tokens / (engines.count * expect.engine_tokens_per_second)


def format_duration(seconds: float) -> str:
    """Return `40 min`, `5.2 h` or `3.1 days`."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
