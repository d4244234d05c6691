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
        names = [config.step or config.harness or ""] if not config.tools else [t.tool for t in config.tool_configs]
        turns = many(config.max_turns, "question" if config.harness else "turn")
        title = f"{'harness ' if config.harness else ''}{', '.join(names)}, at most {turns}"
        stages_of.setdefault(title, {})[stage.base] = None
        problem = f"{place}: the model reads text only and cannot hear what `listen` gives it; use one that listens"
        if listens is False and "listen" in names and problem not in problems:
            problems.append(problem)
    return [f"{title}: in {', '.join(stages)}" for title, stages in stages_of.items()], problems
