"""Notes of a plan on environments: the stages that they answer, and a model that cannot hear what they add."""

from __future__ import annotations

from rl.recipe import Recipe
from rl.recipe.stage_list import stage_environment
from rl.units import many


def describe_environments(recipe: Recipe, listens: bool | None) -> tuple[list[str], list[str]]:
    """Return (a line for each environment with the stages that it answers, problems). `listens` is None where the model is not
    known here."""
    stages_of: dict[str, dict[str, None]] = {}
    problems: list[str] = []
    for stage in recipe.stages:
        config, place = stage_environment(stage, recipe.header.environment)
        if config is None:
            continue
        names = [config.step] if config.step else [tool.tool for tool in config.tool_configs]
        title = f"{', '.join(map(str, names))}, at most {many(config.max_turns, 'turn')}"
        stages_of.setdefault(title, {})[stage.base] = None
        problem = f"{place}: the model reads text only and cannot hear what `listen` gives it; use one that listens"
        if listens is False and "listen" in names and problem not in problems:
            problems.append(problem)
        # A demonstration is played once to its environment, whose replies would stand behind calls that pruning takes away.
        if getattr(stage.config, "prune", None) is not None:
            problems.append(
                f"{stage.place}.prune: leaves out calls that an environment answers; set {stage.place}.environment: none"
            )
    return [f"{title}: in {', '.join(stages)}" for title, stages in stages_of.items()], problems
