"""Whose run a directory holds: a recipe is saved into it, and only the same one goes on there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from rl.config import ConfigError
from rl.run.files import replacing
from rl.run.summary import redact

if TYPE_CHECKING:
    from rl.recipe import Recipe


def claim(recipe: Recipe, out: Path, resume: bool) -> None:
    """Makes the run directory, or checks that the one that is there is this recipe's and may be gone on with.
    Raises ConfigError."""
    saved = out / "recipe.yaml"
    values: dict[str, Any] = redact(recipe.source)
    if saved.exists():
        if not resume:
            raise ConfigError(f"{out}: holds a run already; go on with --resume or choose another --out")
        before: Any = OmegaConf.to_container(OmegaConf.load(saved))
        if json.loads(json.dumps(values)) != before:
            changed = _difference(before, json.loads(json.dumps(values)))
            raise ConfigError(f"{out}: was run with another recipe ({changed}); resume with the same one")
        return
    if resume and out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: holds no run to resume")
    out.mkdir(parents=True, exist_ok=True)
    with replacing(saved) as temporary:
        OmegaConf.save(OmegaConf.create(json.loads(json.dumps(values))), temporary)


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
