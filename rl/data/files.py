"""The rows of data files: jsonl, parquet, Hugging Face `datasets`, and a folder of audio files.

`datasets` and `pyarrow` are imported where they are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from rl.config import ConfigError
from rl.data.clips import ENDINGS, audio_files
from rl.data.rows import (
    SPLITS,
    Row,
    check_columns,
    check_split,
    first_line,
    jsonl,
    locate,
    parquet,
    split_of,
)

FILES = ("jsonl", "parquet", "huggingface", "folder")
AUDIO_ROWS = 64
"""Rows of a parquet file that are in memory at a time when they hold sound."""

Placed = Iterator[tuple[str, Row]]
Refuse = Callable[[ValueError], None]
"""What becomes of a row that cannot be read: raised, or counted."""


class FileConfig(Protocol):
    """What of `rl.data.sources.DataConfig` concerns files; documented there."""

    source: str
    path: str | None
    fields: dict[str, str]
    args: dict[str, Any]

    @property
    def split_name(self) -> str: ...
    @property
    def needed(self) -> list[str]: ...
    @property
    def columns(self) -> list[str]: ...


def rows(config: FileConfig, split: str | None, place: str, refuse: Refuse) -> Placed:
    """(place, row) of everything in the file; `split` may be used to read less. Raises ValueError."""
    if config.source == "huggingface":
        return _huggingface(config, split, place)
    if config.source == "folder":
        return _folder(config, place, refuse)
    file = locate_file(str(config.path), place)
    if config.source == "jsonl":
        return jsonl(file, refuse)
    batch = AUDIO_ROWS if "audio" in config.fields else 1024
    return parquet(file, config.columns, config.needed, batch)


def locate_file(path: str, place: str) -> Path:
    file = locate(path, f"{place}.path")
    if not file.is_file():
        raise ConfigError(f"{place}.path: {file} is a folder; name a file in it")
    return file


def hub_name(path: str, place: str) -> str:
    """A hub name as it is; what can only be a folder is looked for."""
    return str(locate(path, f"{place}.path")) if path.startswith((".", "/", "~", "$")) else path


def _folder(config: FileConfig, place: str, refuse: Refuse) -> Placed:
    """(file, row) with `audio`, `id`, and either the named groups of `pattern` in the file's path below the folder, or
    `label`, its class folder. A file's split is a group or an outermost folder of such a name, else a hash of its path."""
    folder = locate(str(config.path), f"{place}.path")
    if not folder.is_dir():
        raise ConfigError(f"{place}.path: {folder} is a file; name the folder of the audio files")
    found = list(audio_files(folder))
    if not found:
        raise ConfigError(f"{place}.path: {folder} holds no audio files ({' '.join(ENDINGS)}); correct the path")
    pattern = compiled(config.args, place)
    tops = {file.parts[0] for file in found if len(file.parts) > 1}
    splits = bool(tops) and tops <= SPLITS.keys() and all(len(file.parts) > 1 for file in found)
    for file in found:
        own = file.parts[0] if splits else split_of(file.as_posix())
        row = {"audio": str(folder / file), "id": str(file.with_suffix("").as_posix()), config.split_name: own}
        groups = _groups(pattern, file.relative_to(own) if splits else file)
        if groups is None:
            fix = "match it with args.pattern" if pattern else "lay it into a class folder or give args.pattern"
            refuse(ValueError(f"{folder / file}: no label in its path; {fix}"))
        else:
            yield str(folder / file), {**row, **groups}


def _groups(pattern: re.Pattern[str] | None, file: Path) -> dict[str, str] | None:
    if pattern is None:
        return {"label": file.parts[-2]} if len(file.parts) > 1 else None
    match = pattern.search(file.as_posix())
    return {name: text for name, text in match.groupdict().items() if text is not None} if match else None


def compiled(args: dict[str, Any], place: str) -> re.Pattern[str] | None:
    """`args.pattern`, the only argument of a folder. Raises ConfigError."""
    for key in args:
        if key != "pattern":
            raise ConfigError(f"{place}.args: unknown key '{key}'; known: pattern")
    if "pattern" not in args:
        return None
    try:
        pattern = re.compile(args["pattern"])
    except (re.error, TypeError) as error:
        raise ConfigError(f"{place}.args.pattern: {error}; write a regular expression") from error
    if not pattern.groupindex:
        raise ConfigError(f"{place}.args.pattern: no named group; write for example (?P<label>[a-z]+)_")
    return pattern


def _huggingface(config: FileConfig, split: str | None, place: str) -> Placed:
    """(`NAME[SPLIT]: row N`, row). A split column of the rows wins over the splits the dataset is stored in."""
    import datasets
    from datasets.exceptions import DatasetsError

    path = hub_name(str(config.path), place)
    try:
        if any((Path(path) / name).is_file() for name in ("dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, **config.args)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise ValueError(f"{place}.path: {path}: {first_line(error)}; check the name, args and the network") from error
    parts = {str(k): v for k, v in loaded.items()} if isinstance(loaded, dict) else {"": loaded}
    name = config.split_name
    stored = "" not in parts and not any(name in part.column_names for part in parts.values())
    if stored:
        check_split(split, parts, path)
    for part, held in parts.items():
        if stored and split not in (None, part):
            continue
        check_columns([c for c in config.needed if not (stored and c == name)], held.column_names, path)
        chosen = _encoded(held.select_columns([c for c in held.column_names if c in config.columns]))
        for number, row in enumerate(chosen, 1):
            where = f"{path}{f'[{part}]' if part else ''}: row {number}"
            yield where, dict(row, **{name: part}) if stored else dict(row)


def _encoded(held: Any) -> Any:
    """The dataset with its sound as it is stored: decoding it would take torchcodec."""
    import datasets

    for name, feature in held.features.items():
        if isinstance(feature, datasets.Audio):
            held = held.cast_column(name, datasets.Audio(decode=False))
        elif isinstance(getattr(feature, "feature", None), datasets.Audio):
            held = held.cast_column(name, datasets.List(datasets.Audio(decode=False)))
    return held
