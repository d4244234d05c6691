"""Checks of samples that are written while the policy learns, for `rl check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.stages.rlvr.config import Config

if TYPE_CHECKING:
    from rl.recipe import Recipe


def check(recipe: Recipe, _facts: object, gpu: bool, listens: bool) -> tuple[list[str], list[str]]:
    """Return (problems, notes) of `rlvr.max_lag` and `engines.kv`."""
    problems, notes = list[str](), list[str]()
    lagging = [s for s in recipe.stages if isinstance(s.config, Config) and s.config.max_lag]
    if lagging and gpu and recipe.header.cluster.placement == "colocated":
        problems.append(
            f"{lagging[0].place}.max_lag: engines rest while trainers use the same GPUs, so nothing can be written "
            "meanwhile; set cluster.placement=split, or max_lag: 0"
        )
    if lagging:
        notes.append(f"{lagging[0].place}.max_lag: times are those of a run in sync, without what running ahead saves")
    if recipe.header.engines.kv == "keep":
        if listens:
            problems.append(
                "engines.kv: what a listening model has heard is encoded anew with new weights, and cannot be kept in part; "
                "set engines.kv=recompute"
            )
        if not lagging:
            notes.append("engines.kv: no stage has a max_lag, so nothing is in flight when weights change")
    return problems, notes
