"""Duration of a stage, if the recipe gives the speed of its machines: operations and tokens, each divided by a pace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.shape import Shape

if TYPE_CHECKING:
    from rl.planning.workload import StagePlan
    from rl.recipe import Recipe
    from rl.recipe.loader import Stage
    from rl.workers.placement import ExpectConfig


def add_durations(plan: StagePlan, stage: Stage, recipe: Recipe, shape: Shape, expect: ExpectConfig) -> StagePlan:
    """Return the plan with its seconds at full and at expected lengths; 0 where either is unknown."""
    return replace(
        plan,
        seconds=estimate_seconds(stage, plan.tokens, recipe, shape, expect),
        expected_seconds=estimate_seconds(stage, plan.expected_tokens, recipe, shape, expect),
    )


def estimate_seconds(stage: Stage, tokens: int, recipe: Recipe, shape: Shape, expect: ExpectConfig) -> float:
    """Return the seconds that a stage takes for `tokens`, without starting and loading; 0 if `expect` gives no pace.

    A token costs 2 P operations forward and 4 P backward, P the active parameters (Kaplan et al. 2020, arXiv
    2001.08361, section 2.1). Attention's own operations, about an eighth of that at 10,240 tokens of a 33B model, are
    left to the pace.
    """
    if expect.train_tflops is None or expect.engine_tokens_per_second is None:
        return 0.0
    forward = 2  # in units of P per token, as everything below
    update = 8 if recipe.header.model.gradient_checkpointing else 6  # checkpointing runs the forward pass twice
    operations, sampled_tokens = 0, 0
    if stage.kind == "rlvr":
        objective = stage.config.resolved()
        policy_update = update * stage.config.epochs
        # With one optimiser step, the update's own forward pass gives the old logprobs.
        old_logprobs = forward if stage.config.optimiser_steps > 1 else 0
        critic = policy_update + forward if objective.critic else 0
        reference = forward if objective.kl_coef else 0
        operations = policy_update + old_logprobs + critic + reference
        sampled_tokens = tokens
    elif stage.kind in ("sft", "dpo", "reward_model"):
        reference = forward if stage.kind == "dpo" else 0
        operations = update + reference
    else:
        sampled_tokens = tokens
    trainer, engines = recipe.header.trainer, recipe.header.engines
    training_s = operations * shape.active * tokens / (trainer.ranks * expect.train_tflops * 1e12)
    return training_s + sampled_tokens / (engines.count * expect.engine_tokens_per_second)


def format_duration(seconds: float) -> str:
    """Return seconds as `40 min`, `5.2 h` or `3.1 days`."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
