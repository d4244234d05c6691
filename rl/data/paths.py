"""Finds the files that the `path` of a data set names: one, several, or those that a pattern such as `data/*.jsonl`
matches."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from rl.config import ConfigError
from rl.data.rows import locate

Paths = str | list[str]
"""A path, or several; each may be a pattern."""


def as_list(paths: Paths | None) -> list[str]:
    """Return the paths as a list, which is empty without any."""
    return [paths] if isinstance(paths, str) else paths or []


def data_files(paths: Paths | None, place: str) -> list[Path]:
    """Return the files, those of a pattern in the order of their names. Raises ConfigError where one is missing or a folder, a
    pattern matches none, or a file is named twice; it begins with `place`."""
    files: dict[tuple[int, int], Path] = {}  # by device and inode
    for path in as_list(paths):
        for file in _files(path, place):
            # Not by name: two patterns, or a link, may reach one file, whose rows would then count twice.
            status = file.stat()
            if (status.st_dev, status.st_ino) in files:
                raise ConfigError(f"{place}: {file} is named twice; remove one")
            files[status.st_dev, status.st_ino] = file
    return list(files.values())


def _files(path: str, place: str) -> Sequence[Path]:
    file = _expand(path)
    if not is_pattern(path):
        file = locate(path, place)
        if not file.is_file():
            raise ConfigError(f"{place}: {file} is a folder; name a file in it, or a pattern such as {file}/*.jsonl")
        return [file]
    # Sorted, since `glob` keeps the file system's order: on another machine the same data would come in another one.
    matches = [match for match in map(Path, sorted(glob.glob(str(file), recursive=True))) if match.is_file()]
    if not matches:
        # From the root down: the first folder that is missing is the mistake, those below it are missing with it.
        missing = next((folder for folder in reversed(file.parents) if not _exists(folder)), None)
        why = f": there is no folder {missing}" if missing else ""
        raise ConfigError(f"{place}: no file matches {path}{why}; correct it")
    return matches


def _exists(folder: Path) -> bool:
    # By pattern, since a folder on the way may be one too: `data/*/train/*.jsonl`.
    return bool(glob.glob(str(folder)))


def is_pattern(path: str) -> bool:
    """Return whether a path is a pattern: one with `*`, `?` or `[`, and no file of that very name."""
    return glob.has_magic(path) and not _expand(path).exists()


def names_below(folder: Path, paths: Paths | None) -> list[str]:
    """Return the paths, those of patterns as the files that they match; relative ones begin at `folder`."""
    names: list[str] = []
    for path in as_list(paths):
        names += (sorted(glob.glob(path, root_dir=folder, recursive=True)) if glob.has_magic(path) else []) or [path]
    return names


def resolve_beside(folder: Path, paths: Paths) -> Paths:
    """Return the paths, absolute where they lie in `folder` and not in the working directory."""
    if isinstance(paths, list):
        return [_resolve_one(folder, path) for path in paths]
    return _resolve_one(folder, paths)


def _resolve_one(folder: Path, path: str) -> str:
    beside = folder.absolute() / _expand(path)
    return str(beside) if not _exists(_expand(path)) and _exists(beside) else path


def _expand(path: str) -> Path:
    return Path(os.path.expanduser(os.path.expandvars(path)))
