"""The early end of a repeated block, from the metrics of its iterations so far."""

from __future__ import annotations

from collections.abc import Mapping

from rl.config import did_you_mean
from rl.recipe.stage_list import Stage
from rl.stages.context import Outcome


def find_last_iteration(stage: Stage, outcomes: Mapping[str, Outcome]) -> tuple[int | None, list[float]]:
    """Return the iteration after which the block of `stage` ends early, None while it goes on, and the metric of each
    iteration before the stage's own. Raises ValueError where the metric is none of its stage's."""
    block = stage.repeat
    if block is None or block.until is None:
        return None, []
    until = block.until
    values: list[float] = []
    for i in range(1, stage.iteration):
        outcome = outcomes.get(f"{until.stage}@{i}")
        if outcome is None:
            break
        if until.of_stage not in outcome.metrics:
            suggestion = did_you_mean(until.of_stage, outcome.metrics)
            raise ValueError(f"{stage.place}: until.metric: stage '{until.stage}' has no such metric{suggestion}")
        values.append(outcome.metrics[until.of_stage])
    return until.last_iteration(values), values
