"""The one line on a stage that met NaN or infinite numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.finite import NonFiniteError

if TYPE_CHECKING:
    from rl.recipe.stage_list import Stage


def describe_divergence(stage: Stage, step: int | None, error: NonFiniteError) -> str:
    """Return where the stage met the numbers, what they are, and what to do."""
    # Only a step of the optimiser is surely of that step; a checkpoint may be written after it.
    place = f", step {step}" if step is not None and error.is_update else ""
    names = [name for name in ("optimizer", "critic_optimizer") if hasattr(stage.config, name)]
    rates = ", ".join(f"{name}.learning_rate ({getattr(stage.config, name).learning_rate:g})" for name in names)
    fix = f"lower {rates}" if error.is_update and rates else "start from a model that is sound"
    return (
        f"{stage.kind} '{stage.name}'{place}: {error}; {fix} and run anew with another --out; --resume goes on from the "
        "last good checkpoint"
    )
