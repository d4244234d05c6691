"""What a recipe needs beside data and machines: packages, whole models, functions of the user's own."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import check_whole

if TYPE_CHECKING:
    from rl.recipe import Recipe

TRAINED = {"policy", "critic", "reference", "reward_model"}


def packages(roles: Collection[str], gpu: bool) -> list[str]:
    """A line for each engine that is not installed, told without importing it."""
    serves = any(role == "engine" or role.startswith("judge ") for role in roles)
    needed = {"ray": True, "deepspeed": bool(TRAINED & {*roles}), "vllm": serves}
    missing = [name for name, need in needed.items() if need and find_spec(name) is None]
    if not missing:
        return []
    extra = "gpu" if gpu else "cpu"
    verb = "is" if len(missing) == 1 else "are"
    fix = f"install with the extra that brings it: scripts/setup --profile {extra}, or pip install '.[{extra}]'"
    return [f"packages: {' and '.join(missing)} {verb} not installed; {fix}"]


def models(recipe: Recipe) -> list[str]:
    """A line for each model of the recipe whose folder is here, but not all that loading it takes."""
    header, named = recipe.header, dict[str, str]()
    if header.model.path is not None:
        named["model.path"] = header.model.path
    named |= {f"judges.{name}.model": judge.model for name, judge in header.judges.items()}
    made = {name for stage in recipe.stages for name in (stage.base, stage.name)}
    for stage in recipe.stages:
        for key in ("model", "critic"):
            if (path := getattr(stage.config, key, None)) and path not in made:
                named[f"{stage.place}.{key}"] = path
    lines = list[str]()
    for place, path in named.items():
        try:
            if Path(path).is_dir():  # a name of the hub is completed from there
                check_whole(Path(path), tokenizer=not place.endswith(".critic"))
        except ValueError as error:
            lines.append(f"{place}: {error}")
    return lines


def check_functions(recipe: Recipe) -> None:
    """Imports what the stages' objectives name: what only an import shows is told before the first stage. Raises
    ConfigError."""
    for stage in recipe.stages:
        stage.config.check_functions(stage.place)
