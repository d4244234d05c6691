"""Reads the prompts of a run's recorded samples again: rollout files hold neither clips nor further fields."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path

from rl.data.mixture import limits
from rl.recipe import load
from rl.recipe.stage_list import Stage
from rl.runner.artifacts import Artifacts
from rl.runner.outcomes import OUTCOME, read_outcome
from rl.runner.run_dir import read_recipe
from rl.types import Prompt


def read_prompts(run_dir: Path, stages: Set[str], say: Callable[[str], None]) -> dict[str, dict[str, Prompt]]:
    """Return {stage: {id: prompt}} of these stages, from the data that each of them read, also where that is a mixture or
    what an earlier stage wrote. Data that cannot be read, and a recipe that cannot, are a warning."""
    if not (run_dir / "recipe.yaml").is_file():
        return {}
    warnings: dict[str, None] = {}  # in order, once each: stages may share data
    prompts: dict[str, dict[str, Prompt]] = {}
    try:
        recipe = load(read_recipe(run_dir / "recipe.yaml"), folder=run_dir, check=False)
        folders = {path.name.partition("-")[2]: path for path in (run_dir / "stages").glob("[0-9]*-*")}
        artifacts = Artifacts(recipe, run_dir, say)
        # In the order in which they ran, so that `distill` is what the stage found under that name then.
        for stage in recipe.stages:
            if stage.name in stages:
                prompts[stage.name] = _stage_prompts(stage, artifacts, lambda text: warnings.setdefault(text))
            if stage.name in folders and (folders[stage.name] / OUTCOME).is_file():
                artifacts.outcomes[stage.name], _ = read_outcome(folders[stage.name] / OUTCOME, run_dir)
    except ValueError as error:
        warnings.setdefault(str(error))
    for text in warnings:
        say(f"warning: {text}")
    return prompts


def _stage_prompts(stage: Stage, artifacts: Artifacts, warn: Callable[[str], object]) -> dict[str, Prompt]:
    """Return the prompts of the stage's own data by id, without those of its `eval`, whose samples are not recorded."""
    read = stage.config.reads[0]
    prompts: dict[str, Prompt] = {}
    for name, limit in limits(read.data, read.limit).items():
        try:
            prompts |= {prompt.id: prompt for prompt in artifacts.read_prompts(name, read.split, limit, stage.place)}
        except (ValueError, OSError) as error:  # of a mixture, the other data can still be read
            warn(str(error))
    return prompts
