"""Calls a stage's own `plan` with the numbers of rows and tokens that the recipe and its data give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rl.data.mixture import epoch, limits, weights_of
from rl.data.tasks import TASKS
from rl.stages.workload import StagePlan, Work

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.recipe.stage_list import Stage


def stage_plan(
    stage: Stage, recipe: Recipe, available: Mapping[str, int | None], lengths: Mapping[str, float | None]
) -> StagePlan:
    """Return the plan of `stage`, given the `available` rows of its data sets (None: not known before they are read) and the
    expected tokens of their sequences (`lengths`; None: not stated)."""
    config = stage.config
    shares = weights_of(config.data)
    rows: dict[str, int | None] = {}
    for name, limit in limits(config.data, config.reads[0].limit).items():
        have = available.get(name)
        # Where nobody knows how many there are the limit stands for them: a plan's counts are upper bounds.
        rows[name] = have if limit is None or (have is not None and have < limit) else limit
    known_rows = {name: count for name, count in rows.items() if count is not None}
    total = sum(known_rows.values()) if len(known_rows) == len(rows) else None
    work = Work(
        stage.name,
        stage.kind,
        config,
        recipe.header.trainer,
        total,
        epoch(known_rows, shares) if total else total,
        _prefix(stage, recipe),
        _mean_length(shares, lengths),
    )
    return stage.facts.plan(config, work)


def _prefix(stage: Stage, recipe: Recipe) -> str:
    """Return the word before a number of rows that is not exact: `up to ` for what a stage writes, `about ` for a task."""
    data = [recipe.header.data.get(name) for name in weights_of(stage.config.data)]
    if None in data:
        return "up to "
    if stage.config.reads[0].limit is None and any(source and source.source in TASKS for source in data):
        return "about "
    return ""


def _mean_length(shares: Mapping[str, float], lengths: Mapping[str, float | None]) -> float | None:
    """Return the expected tokens of a sequence of the mixture; None where a source says nothing."""
    mean = 0.0
    for name, share in shares.items():
        length = lengths.get(name)
        if length is None:
            return None
        mean += share * length
    return mean
