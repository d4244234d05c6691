"""The formula, with its numbers, of every line of a plan's memory and time: `rl check --explain`."""

from __future__ import annotations

from collections.abc import Iterator

from rl.planning.duration import format_duration
from rl.planning.formulas import PARTS
from rl.planning.memory import RESERVE
from rl.planning.result import Plan
from rl.planning.transfer import format_seconds
from rl.units import size


def explain(plan: Plan) -> Iterator[str]:
    """Yield the lines."""
    for role in plan.roles:
        yield f"memory of {role.role}: {size(role.bytes)} each"
        for part in PARTS:
            if formulas := role.formulas.get(part):
                yield f"  {'KV cache' if part == 'kv' else part}: {' + '.join(formulas)}"
        if plan.gpu:
            yield f"  between turns {size(role.resting)} stay on the GPU, {size(role.host)} wait in the host's memory"
    yield from _explain_devices(plan)
    if plan.transfer:
        yield f"new weights by {plan.transfer.transport}: {format_seconds(plan.transfer.seconds)} = {plan.transfer.formula}"
    for stage in plan.stages:
        if stage.time_formula:
            yield f"time of {stage.name}: {format_duration(stage.seconds)} = {stage.time_formula}"


def _explain_devices(plan: Plan) -> Iterator[str]:
    if not (plan.gpu and plan.roles):
        return
    layouts: set[tuple[str, ...]] = set()
    for seats in plan.seats:
        for seat in seats:
            names = tuple(actor.role for actor in seat)
            if not names or names in layouts:
                continue
            layouts.add(names)
            resting = " + ".join(f"{actor.role} {size(actor.resting)}" for actor in seat)
            working = ", ".join(f"{actor.role} {size(actor.bytes - actor.resting)}" for actor in seat)
            yield f"on a GPU of [{' '.join(names)}]: {resting} at rest, and the most of what one takes at work: {working}"
    if plan.engine_share is not None:
        yield (
            f"an engine's share of a GPU: {plan.engine_share:g} of {size(plan.gpu_memory)}, what trainers at rest and a reserve "
            f"of {RESERVE:.0%} leave"
        )
