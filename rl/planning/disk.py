"""Bounds what a run writes to disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.shape import BYTES, Shape
from rl.planning.lora import trained_parameters
from rl.stages.workload import StagePlan

if TYPE_CHECKING:
    from rl.recipe import Recipe

BYTES_PER_TOKEN = 8
"""Upper bound for a saved sample: a token's id and its text."""


def upper_bounds(recipe: Recipe, shape: Shape, stage_plans: Sequence[StagePlan]) -> dict[str, float]:
    """Return upper bounds in bytes of `models`, `checkpoints` and `rollouts`."""
    b, count = BYTES[recipe.header.model.dtype], shape.parameters
    models = sum(bool({"model", "reward_model"} & {*stage.facts.makes}) for stage in recipe.stages)
    if recipe.header.model.path is None:  # the initial model
        models += 1
    checkpoints = sum(stage_plan.checkpoints for stage_plan in stage_plans)
    # One more than a stage keeps exists while its newest is written; stages write one after the other.
    checkpoints += max((stage_plan.learners for stage_plan in stage_plans), default=0)
    tokens = sum(stage_plan.tokens for stage_plan in stage_plans if stage_plan.records)
    # The model, its float32 master weights and AdamW's two moments: (b + 12) P, for policy and critic each.
    checkpoint = b * count + 12 * (count - shape.frozen)
    if recipe.header.model.lora:  # the same of the adapter alone
        checkpoint = (b + 12) * trained_parameters(shape, recipe.header.model.lora)
    return {
        "models": models * b * count,
        "checkpoints": checkpoints * checkpoint,
        "rollouts": tokens * BYTES_PER_TOKEN,
    }
