"""Keeps the files of a recipe that is extended from another folder: what lies beside it is still looked for there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from rl.data.rows import resolve_in


def keep_files(values: Any, folder: Path) -> Any:
    """Return the recipe's values, of a file in `folder`, with the paths of files that lie beside it made absolute: `data.jsonl`,
    `rewards.py`, `rewards.py:judge`. Interpolations and all other values stay as they are."""
    return OmegaConf.create(_keep(OmegaConf.to_container(values), folder))


def _keep(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _keep(each, folder) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_keep(each, folder) for each in cast("list[Any]", value)]
    if not isinstance(value, str):
        return value
    file, colon, function = value.partition(":") if ".py:" in value else (value, "", "")
    # With a suffix, so that no name of a stage or a data set is taken for that of a file.
    is_file = bool(Path(file).suffix) and (folder / file).is_file()
    return f"{resolve_in(folder, file)}{colon}{function}" if is_file else value
