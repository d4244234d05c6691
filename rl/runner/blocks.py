"""The early end of a repeated block, from the metrics of its iterations so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


class EarlyEnds:
    """Repeated blocks that end before their last iteration, of which each is told once."""

    def __init__(self, outcomes: Mapping[str, Outcome], say: Callable[[str], None]) -> None:
        """Take the `outcomes` of the finished stages, a mapping to which the run adds."""
        self.outcomes, self.say = outcomes, say
        self.announced: dict[str, int] = {}
        """Last iteration of each block whose early end was printed."""

    def skips(self, stage: Stage) -> bool:
        """Return whether the stage belongs to an iteration after the early end of its block."""
        block = stage.repeat
        last, values = find_last_iteration(stage, self.outcomes)
        if block is None or block.until is None or last is None:
            return False
        if self.announced.get(block.name) != last:  # every stage of the later iterations comes by here
            self.announced[block.name] = last
            trend = ", ".join(f"{value:.4g}" for value in values)
            self.say(
                f"{block.name}: {block.until.metric} no longer improves ({trend}); the block ends after {last} iterations"
            )
        return True
