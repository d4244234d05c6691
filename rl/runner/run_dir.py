"""Creates run directories, finds them again, and refuses to resume a run with another recipe."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omegaconf import OmegaConf

from rl.config import ConfigError, read_yaml, resolve
from rl.redaction import redact
from rl.run.files import DiskFull, detect_full_disk, replacing
from rl.run.summary import RECIPE

if TYPE_CHECKING:
    from rl.recipe import Recipe


def prepare_run_dir(recipe: Recipe, out: Path, resume: bool) -> None:
    """Create the run directory and save the recipe into it; or check that an existing one is this recipe's and that the run
    is to be resumed. Raises ConfigError."""
    file = out / RECIPE
    # Through JSON, so that tuples and paths compare equal to what YAML reads back.
    values = json.loads(json.dumps(redact(recipe.source)))
    if file.exists():
        if not resume:
            raise ConfigError(f"{out}: holds a run already; go on with --resume or choose another --out")
        saved_values = read_recipe(file)
        if values != saved_values and values != _resolve_again(saved_values):
            difference = _first_difference(saved_values, values)
            raise ConfigError(f"{out}: was run with another recipe ({difference}); resume with the same one")
        return
    try:
        if resume and out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out}: holds no run to resume")
        with detect_full_disk(out):
            out.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            OmegaConf.save(OmegaConf.create(values), temporary)
    except DiskFull:  # an OSError whose message names its own fix
        raise
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be a run's directory ({error.strerror}); name another") from error


def read_recipe(file: Path) -> dict[str, object]:
    """Return the content of a run's recipe.yaml. Raises ConfigError for a damaged one."""
    fix = "put back the recipe it was run with, or start anew with another --out"
    try:
        values = OmegaConf.to_container(read_yaml(file))
    except ConfigError as error:
        raise ConfigError(f"{error}; {fix}") from error
    if not isinstance(values, dict) or "name" not in values:
        raise ConfigError(f"{file}: holds no recipe; {fix}")
    return cast(dict[str, object], values)


def _resolve_again(saved_values: dict[str, object]) -> object:
    """Return a saved recipe with what it takes from the environment as that is now, redacted like the recipe of a run."""
    try:
        return json.loads(json.dumps(redact(resolve(saved_values, RECIPE))))
    except ConfigError:  # a variable is no longer set
        return saved_values


def _first_difference(old: object, new: object, place: str = "") -> str:
    """Return the first place where two recipes differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *new]:
            if old.get(key) != new.get(key):
                return _first_difference(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
            if old_item != new_item:
                return _first_difference(old_item, new_item, f"{place}[{i}]")
    return f"{place}: {old!r} then, {new!r} now"


RUNS = Path("runs")
"""Folder of the runs whose `--out` is not named, in the working directory."""


def free_folder(folder: Path, is_numbered: bool = False) -> Path:
    """Return `folder`, or where that holds something, the first of `folder-2`, `folder-3`, … that does not. With
    `is_numbered` the folder's own number is dropped first."""
    if is_numbered:
        folder = folder.with_name(re.sub(r"-\d+$", "", folder.name))
    candidate, number = folder, 2
    while candidate.exists() and (not candidate.is_dir() or any(candidate.iterdir())):
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate


def newest_run(name: str, seeds: bool) -> Path:
    """Return the directory of the recipe's latest run, of several `seeds` or of one. Raises ConfigError."""
    runs: list[tuple[float, Path]] = []
    for folder in RUNS.glob(f"{name}*"):
        file = next(folder.glob("seed-*/recipe.yaml" if seeds else "recipe.yaml"), None)
        # `quick*` also matches the runs of a recipe called `quickstart`.
        is_run_name = re.fullmatch(rf"{re.escape(name)}(-\d+)?", folder.name)
        if file and is_run_name and read_recipe(file)["name"] == name:
            runs.append((file.stat().st_mtime, folder))  # a run's recipe is written once, when it begins
    if not runs:
        raise ConfigError(f"--resume: no run of '{name}' in {RUNS}/; name its directory with --out")
    return max(runs)[1]
