"""Reads the rows of data files: jsonl, json, csv, parquet, Hugging Face `datasets`, and a folder of audio files.

`datasets` and `pyarrow` take seconds to import, so they are imported where they are used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rl.config import ConfigError, first_line
from rl.data.arrow import decode_rows, parquet, parquet_columns
from rl.data.clips import ENDINGS, audio_files
from rl.data.csv_rows import csv_columns, csv_rows
from rl.data.json_rows import json_rows
from rl.data.paths import Paths, data_files
from rl.data.rows import (
    SPLITS,
    Row,
    check_columns,
    check_split,
    check_split_column,
    flat_names,
    locate,
    normal_split,
    split_of,
    top_level,
)

if TYPE_CHECKING:
    import datasets

FILES = ("jsonl", "json", "csv", "parquet", "verl", "huggingface", "folder")
"""Sources that are read row by row; the other ones make their own prompts."""
SINGLE_FILES = ("jsonl", "json", "csv", "parquet", "verl")
"""Sources whose `path` names files, each read on its own."""
ENDING_SOURCES = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl"}
"""Source of a file by the ending of its name."""
SPLIT_FOLDERS = {name: name for name in SPLITS} | {"val": "validation", "valid": "validation", "dev": "validation"}
"""Name of a folder, in small letters -> the split whose files it holds."""
AUDIO_ROWS = 64
"""Number of rows of a parquet file in memory at a time when they hold sound."""
FIRST_ROWS = 64
"""Rows of a json file whose columns are taken for those of all."""

PlacedRows = Iterator[tuple[str, Row]]
"""Rows, each with its place for messages."""
Refuse = Callable[[ValueError], None]
"""A function that gets the error of a row that cannot be read, and raises or counts it."""


class FileConfig(Protocol):
    """The part of `rl.data.sources.DataConfig`, where it is documented, that concerns files."""

    source: str
    path: Paths | None
    fields: dict[str, str]
    args: dict[str, Any]  # as `DataConfig` has it: values of YAML, for whatever function is called

    @property
    def split_name(self) -> str: ...
    @property
    def required_columns(self) -> list[str]: ...
    @property
    def columns(self) -> list[str]: ...


def rows(config: FileConfig, split: str | None, place: str, refuse: Refuse) -> PlacedRows:
    """Yield (place, row) of the whole source, which is one file or none; rows of other splits may be among them. Raises
    ValueError."""
    if config.source == "huggingface":
        return _huggingface(config, split, place)
    if config.source == "folder":
        return _folder(config, place, refuse)
    (file,) = data_files(config.path, f"{place}.path")
    if config.source in ("jsonl", "json"):  # a parquet file can be read or not, as a whole; here single lines may fail
        return json_rows(file, refuse)
    if config.source == "csv":
        check_split_column(config.split_name, csv_columns(file), str(file))
        check_columns(config.required_columns, csv_columns(file), str(file))
        return csv_rows(file, refuse)
    batch = AUDIO_ROWS if "audio" in config.fields else 1024
    check_split_column(config.split_name, parquet_columns(file), str(file))
    return parquet(file, config.columns, config.required_columns, batch)


def stored_columns(source: str, file: Path) -> list[str]:
    """Return the columns that all rows of a file have, with the parts of mappings; empty where rows may differ."""
    if source == "parquet":
        return parquet_columns(file)
    return csv_columns(file) if source == "csv" else []


def first_columns(config: FileConfig) -> list[str]:
    """Return the columns of a source of files by its first file or its first rows, each with the parts of its mappings.
    Raises ValueError where it cannot be read."""
    if config.source == "huggingface":
        return next(iter(_huggingface_parts(config, "data").values())).column_names
    file = data_files(config.path, "data.path")[0]
    if config.source in ("jsonl", "json"):
        errors: list[ValueError] = []
        first_rows = islice(json_rows(file, errors.append), FIRST_ROWS)
        return list(dict.fromkeys(name for _, row in first_rows for name in flat_names(row)))
    return stored_columns(config.source, file)


def check_same_columns(files: Sequence[Path], source: str, columns: Collection[str]) -> None:
    """Raise ValueError where one of the files has one of the `columns` and another does not."""
    first = {*stored_columns(source, files[0])}
    for file in files[1:]:
        names = {*stored_columns(source, file)}
        for name in columns:
            if (name in names) != (name in first):
                with_it, without = (file, files[0]) if name in names else (files[0], file)
                fix = "give it to all, or make a data set of each sort"
                raise ValueError(f"{without}: no column '{name}', which {with_it} has; {fix}")


def hub_name(path: str, place: str) -> str:
    """Return a hub name as it is, and a path as an existing folder. Raises ConfigError for a missing folder."""
    # A hub name such as `openai/gsm8k` looks like a relative path: only these beginnings are surely paths.
    return str(locate(path, f"{place}.path")) if path.startswith((".", "/", "~", "$")) else path


def _folder(config: FileConfig, place: str, refuse: Refuse) -> PlacedRows:
    """Yield (file, row) with `audio`, `id`, and either the named groups of `pattern` in the file's path below the folder,
    or `label`, its class folder. A file's split is a group of that name, or its outermost folder where all of these are
    named after splits (`SPLIT_FOLDERS`), else a hash of its path."""
    folder = locate(str(config.path), f"{place}.path")
    if not folder.is_dir():
        raise ConfigError(f"{place}.path: {folder} is a file; name the folder of the audio files")
    files = list(audio_files(folder))
    if not files:
        raise ConfigError(f"{place}.path: {folder} holds no audio files ({' '.join(ENDINGS)}); correct the path")
    pattern = compile_pattern(config.args, place)
    in_split_folders = all(len(file.parts) > 1 and file.parts[0].lower() in SPLIT_FOLDERS for file in files)
    for file in files:
        split = SPLIT_FOLDERS[file.parts[0].lower()] if in_split_folders else split_of(file.as_posix())
        row = {"audio": str(folder / file), "id": str(file.with_suffix("").as_posix()), config.split_name: split}
        # Without the split's folder: it would be the label of every file that lies in no class folder.
        groups = _groups(pattern, file.relative_to(file.parts[0]) if in_split_folders else file)
        if groups is None:
            fix = "match it with args.pattern" if pattern else "lay it into a class folder or give args.pattern"
            refuse(ValueError(f"{folder / file}: no label in its path; {fix}"))
        else:
            yield str(folder / file), {**row, **groups}


def _groups(pattern: re.Pattern[str] | None, file: Path) -> dict[str, str] | None:
    """Return the columns that a file's path gives; None where it gives no label."""
    if pattern is None:
        return {"label": file.parts[-2]} if len(file.parts) > 1 else None
    match = pattern.search(file.as_posix())
    return {name: text for name, text in match.groupdict().items() if text is not None} if match else None


def compile_pattern(args: Mapping[str, Any], place: str) -> re.Pattern[str] | None:
    """Return `args.pattern`, the only argument of a folder, compiled; None without it. Raises ConfigError."""
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


def _huggingface_parts(config: FileConfig, place: str) -> dict[str, datasets.Dataset]:
    """Return {split: its data set}; a single data set has an empty name. Raises ValueError."""
    import datasets
    from datasets.exceptions import DatasetsError

    path = hub_name(str(config.path), place)
    try:
        if any(os.path.isfile(Path(path) / name) for name in ("dataset_dict.json", "state.json")):
            dataset = datasets.load_from_disk(path)
        else:
            dataset = datasets.load_dataset(path, **config.args)
    # TypeError: an argument that the loader of this kind of file does not know.
    except (OSError, ValueError, TypeError, RuntimeError, DatasetsError) as error:
        raise ValueError(f"{place}.path: {path}: {first_line(error)}; check the name, args and the network") from error
    # A `DatasetDict` is a dict of split to dataset; a single dataset has no name.
    return {str(k): v for k, v in dataset.items()} if isinstance(dataset, dict) else {"": dataset}


def _huggingface(config: FileConfig, split: str | None, place: str) -> PlacedRows:
    """Yield (`NAME[SPLIT]: row N`, row). A split column of the rows wins over the splits the dataset is stored in."""
    parts, path = _huggingface_parts(config, place), str(config.path)
    name = config.split_name
    for part in parts.values():
        check_split_column(name, part.column_names, path)
    split_by_part = "" not in parts and not any(name in part.column_names for part in parts.values())
    if split_by_part and split is not None and normal_split(split) not in map(normal_split, parts):
        check_split(split, parts, path)
    for part_name, part in parts.items():
        if split_by_part and split is not None and normal_split(part_name) != normal_split(split):
            continue
        check_columns(
            [c for c in config.required_columns if not (split_by_part and c == name)], part.column_names, path
        )
        # Without a format: a data set that was saved with `set_format("numpy")` would give arrays in place of numbers.
        columns = part.with_format(None).select_columns(
            [c for c in part.column_names if c in top_level(config.columns)]
        )
        stored_rows = _keep_encoded(columns)
        label = f"{path}[{part_name}]" if part_name else path
        for number, row in enumerate(decode_rows(stored_rows, stored_rows.features.arrow_schema), 1):
            yield f"{label}: row {number}", dict(row, **{name: part_name}) if split_by_part else row


def _keep_encoded(dataset: datasets.Dataset) -> datasets.Dataset:
    """Return the dataset with its sound as it is stored: decoding it would take torchcodec."""
    import datasets

    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Audio):
            dataset = dataset.cast_column(name, datasets.Audio(decode=False))
        elif isinstance(getattr(feature, "feature", None), datasets.Audio):  # a list of clips
            dataset = dataset.cast_column(name, datasets.List(datasets.Audio(decode=False)))
    return dataset
