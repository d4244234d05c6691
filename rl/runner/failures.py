"""The one line on what stopped a run, and what its summary keeps of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.finite import NonFiniteError
from rl.run.files import DiskFull
from rl.run.summary import Failure

if TYPE_CHECKING:
    from rl.recipe.stage_list import Stage


def describe_failure(error: BaseException, stage: Stage | None, step: int | None) -> Failure:
    """Return what the summary keeps of the error that stops the run in a stage (None: before the first) at a step."""
    lines = str(error).strip().splitlines() or [""]
    # Of a bug, whose message may be anything, the kind of the exception says most; Ray puts its own name first.
    if isinstance(error, ValueError | DiskFull):
        text = " ".join(lines)
    else:
        text = f"{type(error).__name__}: {lines[-1].strip()}"
    return Failure(text, stage and stage.name, step)


def describe_place(stage: Stage | None, step: int | None) -> str:
    """Return where the run is, to begin a line with: `rlvr 'rlvr', step 3: `; "" before the first stage."""
    if stage is None:
        return ""
    return f"{stage.kind} '{stage.name}'{'' if step is None else f', step {step}'}: "


def describe_divergence(stage: Stage, step: int | None, error: NonFiniteError) -> str:
    """Return where the stage met the numbers, what they are, and what to do."""
    # Only a step of the optimiser is surely of that step; a checkpoint may be written after it.
    place = describe_place(stage, step if error.is_update else None)
    names = [name for name in ("optimizer", "critic_optimizer") if hasattr(stage.config, name)]
    rates = ", ".join(f"{name}.learning_rate ({getattr(stage.config, name).learning_rate:g})" for name in names)
    fix = f"lower {rates}" if error.is_update and rates else "start from a model that is sound"
    return f"{place}{error}; {fix} and run anew with another --out; --resume goes on from the last good checkpoint"
