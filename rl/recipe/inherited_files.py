"""Keeps the files of a recipe that is extended from another folder: what lies beside it is still looked for there."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf


def keep_files(values: Any, folder: Path, heir: Path) -> Any:
    """Return the values of a recipe in `folder`, where paths of what lies beside it begin at `heir`, the folder of the recipe that
    extends it: `rewards.py:judge` becomes `../rewards.py:judge`. These are files with a suffix, whatever key has them, and the
    folders and patterns of `data.NAME.path`. Absolute paths, interpolations and all other values stay as they are."""
    container = cast("dict[str, Any]", OmegaConf.to_container(values))
    way = os.path.relpath(folder, heir)
    # Apart: only of data may a folder or a pattern be looked for beside the recipe; `model.path` begins at the working directory.
    data = container.get("data")
    paths: dict[str, Any] = {}
    for name, config in (cast("Mapping[str, Any]", data) if isinstance(data, Mapping) else {}).items():
        if isinstance(config, Mapping) and "path" in config:
            paths[name] = _move_paths(cast("Mapping[str, Any]", config)["path"], folder, way)
    moved = _move(container, folder, way)
    for name, path in paths.items():
        moved["data"][name]["path"] = path
    return OmegaConf.create(moved)


def _move(value: Any, folder: Path, way: str) -> Any:
    """Return a value, and all within it, where the path of a file in `folder` begins with `way`."""
    if isinstance(value, Mapping):
        return {key: _move(each, folder, way) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_move(each, folder, way) for each in cast("list[Any]", value)]
    if not isinstance(value, str):
        return value
    file, colon, function = value.partition(":") if ".py:" in value else (value, "", "")
    # With a suffix, so that no name of a stage or a data set is taken for that of a file. `os.path.isfile` answers for texts
    # that are too long for any file, too.
    is_file = os.path.splitext(file)[1] and not os.path.isabs(file) and os.path.isfile(folder / file)
    return f"{os.path.join(way, file)}{colon}{function}" if is_file else value


def _move_paths(paths: Any, folder: Path, way: str) -> Any:
    """Return the path of a data set, or its paths: a file, a folder, or a pattern."""
    if isinstance(paths, list):
        return [_move_paths(path, folder, way) for path in cast("list[Any]", paths)]
    lies_beside = isinstance(paths, str) and not os.path.isabs(paths) and bool(glob.glob(str(folder / paths)))
    return os.path.join(way, paths) if lies_beside else paths
