"""Checks what a recipe needs beside machines: packages and their native libraries, the folder of data, whole models, functions
of the user's own."""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import check_whole
from models.pretrained.catalogue import find_pretrained
from rl import native_libraries
from rl.gpu_requirements import find_missing
from rl.planning.checks import has_sound
from rl.run.sinks import registry as trackers

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.workers.machine import Machine

TRAINER_ROLES = {"policy", "critic", "reference", "teacher", "reward_model"}


def packages(roles: Collection[str], machine: Machine) -> list[str]:
    """Return a line about the engines that are not installed, found without importing them, and one about each thing that a
    machine with GPUs lacks."""
    return _missing_packages(roles, machine.gpus > 0) + (find_missing(machine.driver) if machine.gpus else [])


def _missing_packages(roles: Collection[str], gpu: bool) -> list[str]:
    is_needed = {"ray": True, "deepspeed": bool(TRAINER_ROLES & {*roles}), "vllm": _serves(roles)}
    missing = [name for name, is_used in is_needed.items() if is_used and find_spec(name) is None]
    if not missing:
        return []
    extra = "gpu" if gpu else "cpu"
    verb = "is" if len(missing) == 1 else "are"
    fix = f"install with the extra that brings it: scripts/setup --profile {extra}, or pip install '.[{extra}]'"
    return [f"packages: {' and '.join(missing)} {verb} not installed; {fix}"]


def _serves(roles: Collection[str]) -> bool:
    """Return whether vLLM serves one of the roles."""
    return any(role == "engine" or role.startswith("judge ") for role in roles)


def libraries(recipe: Recipe) -> list[str]:
    """Return a line for each package that the recipe needs and whose native library cannot be opened here, and for each
    tracker that lacks something."""
    names = ["pyarrow"]  # every run writes its samples with it
    if any(has_sound(data) for data in recipe.header.data.values()):
        names += ["soundfile", "soxr"]
    if _serves(recipe.roles) and find_spec("vllm"):
        names.append("vllm")
    lines = list[str]()
    for package in names:
        if reason := native_libraries.open_error(package):
            lines.append(native_libraries.describe_problem(package, reason))
    return lines + trackers.problems(recipe.header.track, recipe.folder)


def unnamed_folder(recipe: Recipe) -> tuple[set[str], list[str]]:
    """Return the data sets that lie in the folder of GROUNDTONE_DATA while that is not set, and one line about them."""
    if os.environ.get("GROUNDTONE_DATA"):
        return set(), []
    data = recipe.header.data
    names_read = dict.fromkeys(read.data for read in recipe.loads())
    names = [name for name in names_read if "GROUNDTONE_DATA" in str((data[name].path, data[name].args))]
    if not names:
        return set(), []
    places, verb = ", ".join(f"data.{name}" for name in names), "reads" if len(names) == 1 else "read"
    example = "export GROUNDTONE_DATA=~/groundtone-data"
    return {*names}, [f"{places}: {verb} the folder that GROUNDTONE_DATA names; set it, for example {example}"]


def models(recipe: Recipe) -> list[str]:
    """Return a line for each model of the recipe whose folder is here but lacks files that loading it needs."""
    header = recipe.header
    path_of = {**header.model.sources}
    path_of |= {f"judges.{name}.model": judge.model for name, judge in header.judges.items()}
    stage_names = {name for stage in recipe.stages for name in (stage.base, stage.name)}
    for stage in recipe.stages:
        for key in ("model", "critic", "teacher"):
            if (path := getattr(stage.config, key, None)) and path not in stage_names:
                path_of[f"{stage.place}.{key}"] = path
    lines = list[str]()
    for place, path in path_of.items():
        try:
            folder = find_pretrained(path) or Path(path)
            if os.path.isdir(folder):  # a model of the hub is downloaded whole
                check_whole(folder, tokenizer=not place.endswith((".critic", ".encoder")))
        except ValueError as error:
            lines.append(f"{place}: {error}")
    return lines


def check_functions(recipe: Recipe) -> None:
    """Import the user's functions that the stages name, so that a mistake which only an import shows stops the run before its
    first stage. Raises ConfigError."""
    for stage in recipe.stages:
        stage.config.check_functions(stage.place)
