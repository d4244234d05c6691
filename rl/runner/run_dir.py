"""Whose run a directory holds: a recipe is saved into it, and only the same one goes on there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from rl.config import ConfigError, read_yaml
from rl.run.files import DiskFull, full_disk_named, replacing
from rl.run.summary import redact

if TYPE_CHECKING:
    from rl.recipe import Recipe


def claim(recipe: Recipe, out: Path, resume: bool) -> None:
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
        with full_disk_named(out):
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
