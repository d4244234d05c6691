"""Whose run a directory holds: a recipe is saved into it, and only the same one goes on there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from rl.config import ConfigError, read_yaml
from rl.run.files import DiskFull, detect_full_disk, replacing
from rl.run.summary import redact

if TYPE_CHECKING:
    from rl.recipe import Recipe


def prepare_run_dir(recipe: Recipe, out: Path, resume: bool) -> None:
    """Makes the run directory, or checks that the one that is there is this recipe's and may be gone on with.
    Raises ConfigError."""
    saved = out / "recipe.yaml"
    values = json.loads(json.dumps(redact(recipe.source)))
    if saved.exists():
        if not resume:
            raise ConfigError(f"{out}: holds a run already; go on with --resume or choose another --out")
        before = saved_recipe(saved)
        if values != before:
            changed = _difference(before, values)
            raise ConfigError(f"{out}: was run with another recipe ({changed}); resume with the same one")
        return
    try:
        if resume and out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out}: holds no run to resume")
        with detect_full_disk(out):
            out.mkdir(parents=True, exist_ok=True)
        with replacing(saved) as temporary:
            OmegaConf.save(OmegaConf.create(values), temporary)
    except DiskFull:
        raise
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be a run's directory ({error.strerror}); name another") from error


def saved_recipe(saved: Path) -> dict[str, Any]:
    """The recipe.yaml of a run. Raises ConfigError for a damaged one."""
    fix = "put back the recipe it was run with, or start anew with another --out"
    try:
        values = OmegaConf.to_container(read_yaml(saved))
    except ConfigError as error:
        raise ConfigError(f"{error}; {fix}") from error
    if not isinstance(values, dict) or "name" not in values:
        raise ConfigError(f"{saved}: holds no recipe; {fix}")
    return cast(dict[str, Any], values)


def _difference(before: Any, after: Any, place: str = "") -> str:
    """The first place where two recipes differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *after]:
            if before.get(key) != after.get(key):
                return _difference(before.get(key), after.get(key), f"{place}.{key}".lstrip("."))
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (b, a) in enumerate(zip(before, after, strict=True)):
            if b != a:
                return _difference(b, a, f"{place}[{i}]")
    return f"{place}: {before!r} then, {after!r} now"


RUNS = Path("runs")


def free_folder(wanted: Path, again: bool = False) -> Path:
    """`wanted`, or with the first number behind it that is not taken; `again`: `wanted` has one already, perhaps."""
    wanted = wanted.with_name(re.sub(r"-\d+$", "", wanted.name)) if again else wanted
    folder, number = wanted, 2
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder


def newest_run(name: str, seeds: bool) -> Path:
    """The directory of the recipe's run that was begun last (of several seeds, or of one). Raises ConfigError."""

    begun: list[tuple[float, Path]] = []
    for folder in RUNS.glob(f"{name}*"):
        saved = next(folder.glob("seed-*/recipe.yaml" if seeds else "recipe.yaml"), None)
        numbered = re.fullmatch(rf"{re.escape(name)}(-\d+)?", folder.name)
        if saved and numbered and saved_recipe(saved)["name"] == name:
            begun.append((saved.stat().st_mtime, folder))
    if not begun:
        raise ConfigError(f"--resume: no run of '{name}' in {RUNS}/; name its directory with --out")
    return max(begun)[1]
