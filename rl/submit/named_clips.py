"""Sound files that the rows of a data file name, so that they travel with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from rl.data.clips import ENDINGS
from rl.data.files import ENDING_SOURCES
from rl.data.json_rows import jsonl


def find_named_clips(source: str, file: Path) -> list[str]:
    """Return the texts in the rows of a small data file that end as sound files do, each once."""
    texts = (text for row in _rows(source, file) for text in _texts(row))
    return list(dict.fromkeys(text for text in texts if text.lower().endswith(ENDINGS)))


def _rows(source: str, file: Path) -> Iterator[object]:
    """Yield the rows of a small data file; rows that cannot be read are left to the run to name."""
    source = ENDING_SOURCES.get(file.suffix.lower(), source)
    if source == "parquet":
        from pyarrow import ArrowInvalid, parquet

        try:
            yield from parquet.read_table(file).to_pylist()
        except (ArrowInvalid, OSError):
            return
    elif source == "jsonl":
        for _, row in jsonl(file, lambda error: None):
            yield row


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in cast("Mapping[str, object]", value).values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("list[object]", value):
            yield from _texts(inner)
