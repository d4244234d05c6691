"""Says of a recipe's models and data whether they come from disk or from the hub, which needs the network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import folder_of
from models.pretrained.catalogue import CATALOGUE, explain_missing
from rl.data.paths import as_list
from rl.data.rows import locate
from rl.nearness import nearest

if TYPE_CHECKING:
    from rl.data.sources import DataConfig
    from rl.recipe import Recipe

HUB = "from the hub, which needs the network unless it is in the cache"


def describe(recipe: Recipe) -> list[str]:
    """Return a line for the model, for each judge that is asked, and for each data set that a stage reads; what the recipe makes
    itself (a model from scratch, a task) needs neither and has none."""
    header = recipe.header
    models = {place.replace("model.path", "model"): path for place, path in header.model.sources.items()}
    models |= {f"judge {name}": judge.model for name, judge in recipe.judges.items()}
    lines: list[str] = []
    for role, path in models.items():
        folder = folder_of(path)
        is_remote = folder is not None and path not in CATALOGUE and not Path(path).exists()
        where = "from the hub's cache on disk" if is_remote else "from disk" if folder else HUB
        lines.append(f"{role} {path}: {where}")
    for name in dict.fromkeys(read.data for read in recipe.loads()):
        if where := _origin(header.data[name]):
            lines.append(f"data {name}, {', '.join(as_list(header.data[name].path))}: {where}")
    return lines


def explain_absence(path: str, place: str) -> tuple[list[str], bool]:
    """Return (a line about a model that is not on this machine, none where it is; whether that is a mistake)."""
    if folder_of(path) is not None:
        return [], False
    if path in CATALOGUE:
        return [f"{place}: {explain_missing(path)}"], True
    if path.startswith(".") or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        return [f"{place}: no such folder: {path}; correct it or name a model of the hub"], True
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return [
            f"{place}: '{path}' is no folder and not in the hub's cache; HF_HUB_OFFLINE is set{_stand_in(path)}"
        ], True
    return [
        f"{place}: '{path}' is not here; it will be fetched from the hub when the run starts{_stand_in(path)}"
    ], False


def _stand_in(path: str) -> str:
    """Return a hint at the model of the catalogue whose name, or whose original's name, is near to the path; "" without one."""
    for name, model in CATALOGUE.items():
        # An original is compared without its owner, whom a user may leave out.
        if nearest(path.rpartition("/")[2], [name, model.official.rpartition("/")[2]]):
            return f" ('{name}' needs no hub: {model.summary})"
    return ""


def _origin(data: DataConfig) -> str:
    if data.path is None:
        return ""
    if data.source != "huggingface":
        return "from disk"
    try:
        locate(str(data.path), "path")
    except ValueError:
        return HUB
    return "from disk"
