"""How long a stage takes, where the recipe says what its machines get done: operations and tokens over a stated pace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.shape import Shape

if TYPE_CHECKING:
    from rl.planning.workload import StagePlan
    from rl.recipe import Recipe
    from rl.recipe.loader import Stage
    from rl.workers.placement import ExpectConfig


def timed(told: StagePlan, stage: Stage, recipe: Recipe, shape: Shape, expect: ExpectConfig) -> StagePlan:
    """With its seconds at most, and at the lengths that are expected, where some are."""
    most, likely = (seconds(stage, tokens, recipe, shape, expect) for tokens in (told.tokens, told.expected_tokens))
    return replace(told, seconds=most, expected_seconds=likely)


def seconds(stage: Stage, tokens: int, recipe: Recipe, shape: Shape, expect: ExpectConfig) -> float:
    """For so many tokens, starting and loading left out. 0 where nothing is known.

    2 P operations for a token forward and 4 P backward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), 2 P more
    where gradient checkpointing works the layers again; attention's own, about an eighth of that at 10,240 tokens of a
    33B model, are left to the pace."""
    if expect.train_tflops is None or expect.engine_tokens_per_second is None:
        return 0.0
    update, forward = 8 if recipe.header.model.gradient_checkpointing else 6, 2
    operations, written = 0, 0
    if stage.kind == "rlvr":
        goal = stage.config.resolved()
        trained = update * stage.config.epochs
        old = forward if stage.config.optimiser_steps > 1 else 0
        operations = trained + old + (trained + forward if goal.critic else 0) + (forward if goal.kl_coef else 0)
        written = tokens
    elif stage.kind in ("sft", "dpo", "reward_model"):
        operations = update + (forward if stage.kind == "dpo" else 0)
    else:
        written = tokens
    trainer, engines = recipe.header.trainer, recipe.header.engines
    learning = operations * shape.active * tokens / (trainer.ranks * expect.train_tflops * 1e12)
    return learning + written / (engines.count * expect.engine_tokens_per_second)


def words(seconds: float) -> str:
    """`40 min`, `5.2 h`, `3.1 days`."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
