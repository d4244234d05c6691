"""Looks into data sets for `rl check`: in a fraction of a second, without `datasets`, a network, or decoded clips."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rl.data import user_functions
from rl.data.arrow import parquet_counts
from rl.data.benchmark_rows import SOURCE, find_set_files
from rl.data.files import AUDIO_ROWS, SINGLE_FILES, hub_name, rows, stored_columns
from rl.data.paths import data_files
from rl.data.rows import Row, check_columns, flat_names, has_column, locate, normal_split
from rl.data.sources import DataConfig, read
from rl.data.standard_forms import recognise
from rl.data.task_arguments import arguments
from rl.data.tasks import COUNTS, TASKS
from rl.data.transcripts import read_transcripts
from rl.types import Prompt

CHECKED_BYTES = 8 << 20
"""Size up to which a jsonl file is read whole (about 0.2 s)."""
CHECKED_ROWS = AUDIO_ROWS
"""Rows that are read of a larger one, and of a parquet file."""


@dataclass(frozen=True)
class DataFacts:
    """Facts of a data set that are known before anything heavy starts."""

    rows: int | None
    """Number of prompts; None where it is not known, roughly for some tasks."""
    problems: list[str]
    """Mistakes that would end a run, a line each."""
    notes: list[str] = field(default_factory=list[str])
    """Remarks for the user, such as rows that were skipped."""
    prompts: Sequence[Prompt] = ()
    """Prompts that were read: all of them, or the first; none of sources that are read when a run starts."""
    columns: Sequence[str] = ()
    """Columns that the rows have, where they are known."""
    without_splits: bool = False
    """True where rows have no split column: all of them are read, whatever split is asked for."""
    without_ids: bool = False
    """True where rows have no ids: prompts are called by their file and row number."""


def inspect(config: DataConfig, split: str | None = None, place: str = "data") -> DataFacts:
    """Return what `rl check` tells of a data set."""
    notes: list[str] = []
    try:
        config.validate(place)
        config = recognise(config)
        if config.external is not None:
            read_transcripts(locate(config.external, f"{place}.external"))
        count, prompts = _read(config, split, place, notes.append)
        row, columns = _first_row(config, place), _columns(config, place)
        if columns:  # a column of splits may be made of the parts that a data set is stored in
            check_columns([c for c in config.required_columns if c != config.split_name], columns, str(config.path))
        if row is None:
            return DataFacts(count, [], notes, prompts, columns)
        without_ids = "id" not in config.fields and row.get("id") is None
        without_splits = not has_column(row, config.split_name)
        return DataFacts(count, [], notes, prompts, columns or flat_names(row), without_splits, without_ids)
    except ValueError as error:
        return DataFacts(None, [str(error)])


def _read(
    config: DataConfig, split: str | None, place: str, say: Callable[[str], None]
) -> tuple[int | None, list[Prompt]]:
    """Return the number of prompts in `split`, None where counting would take long, and those that were read for it.
    Raises ValueError as `load` does."""
    if config.source in COUNTS:
        return COUNTS[config.source](split, **arguments(TASKS[config.source], config.args, place)), []
    if config.source == "huggingface":
        hub_name(str(config.path), place)
        return None, []
    if config.source == SOURCE:
        files = find_set_files(str(config.path), str(config.args["set"]), f"{place}.path")
        stored = [file for file in files if file.suffix.lower() == ".parquet"]  # with its sound
        prompts = read(config, None, CHECKED_ROWS if stored else None, place, say, decode=False)
        count = sum(sum(parquet_counts(file, config.split_name).values()) for file in stored)
        return count if stored else len(prompts), prompts
    if config.source not in ("folder", *SINGLE_FILES):
        user_functions.check(config.source, config.args, place)
        return None, []
    # Rows of a folder are names of files, and nothing of the sound is read: its size does not matter.
    files = [] if config.source == "folder" else data_files(config.path, f"{place}.path")
    if config.source != "parquet" and sum(file.stat().st_size for file in files) <= CHECKED_BYTES:
        prompts = read(config, split, None, place, say, decode=False)
        return len(prompts), prompts
    if config.source != "parquet":  # the first rows show whether the columns are right; the split may begin far below
        return None, read(config, None, CHECKED_ROWS, place, say, decode=False)
    prompts = read(config, split, CHECKED_ROWS, place, say, decode=False)
    counts = Counter[str | None]()
    for file in files:
        counts.update(parquet_counts(file, config.split_name))
    if split is None or None in counts:
        return sum(counts.values()), prompts
    return sum(n for name, n in counts.items() if normal_split(str(name)) == normal_split(split)), prompts


def _first_row(config: DataConfig, place: str) -> Row | None:
    """Return the first row; None for sources that `inspect` does not open."""
    if config.source not in ("folder", *SINGLE_FILES):
        return None
    _, first = config.by_file(place)[0]
    # Of rows that cannot be read `_read`, which comes before, has told.
    return next((row for _, row in rows(first, None, place, lambda _: None)), None)


def _columns(config: DataConfig, place: str) -> list[str]:
    """Return the columns of a parquet or csv file, or of a data set that `save_to_disk` wrote; empty for other sources."""
    if config.source in SINGLE_FILES:
        return stored_columns(config.source, data_files(config.path, f"{place}.path")[0])
    if config.source != "huggingface":
        return []
    folder = Path(hub_name(str(config.path), place))
    described = next(iter(sorted([*folder.glob("dataset_info.json"), *folder.glob("*/dataset_info.json")])), None)
    try:
        return list(json.loads(described.read_text())["features"]) if described else []
    except (ValueError, LookupError, TypeError, OSError):
        return []  # `datasets` will say what is wrong with it
