"""Rows of data files: where each stands, what its columns hold, and the text made of them.

A row is a plain dict; its place is `FILE:LINE` (jsonl) or `FILE: row N` (others, counted from 1), so that every
complaint about a row can be found with an editor.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import string
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl import native_libraries
from rl.config import ConfigError, did_you_mean

Row = dict[str, Any]
SPLITS = {"train": 0.8, "validation": 0.9, "test": 1.0}
"""Upper bounds of the splits of whatever brings none of its own (`rank`)."""


def rank(text: str) -> float:
    """A fixed pseudo-random place of `text` in [0, 1), from SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def split_of(text: str) -> str:
    """The split a text belongs to: of the text alone, so it never crosses splits, whatever else is read beside it."""
    place = rank(text)
    return next(name for name, bound in SPLITS.items() if place < bound)


def check_split(split: str | None, known: Iterable[str], place: str) -> None:
    """Raises ValueError when a split is asked for that is not among the `known` ones."""
    if split is not None and split not in (names := list(known)):
        raise ValueError(f"{place}: no split '{split}'; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}")


def locate(path: str, place: str) -> Path:
    """The file or folder `path` names, environment variables and `~` resolved. Raises ConfigError when it is missing."""
    file = Path(os.path.expanduser(os.path.expandvars(path)))
    if file.exists():
        return file
    root = os.environ.get("GROUNDTONE_DATA")
    if not root and "GROUNDTONE_DATA" in str(file):
        example = "set it, for example GROUNDTONE_DATA=~/groundtone-data"
        raise ConfigError(f"{place}: {file} is in the folder that GROUNDTONE_DATA names; {example}")
    fix = "correct the path"
    if root and file.is_relative_to(root):
        fix = f"set the environment variable GROUNDTONE_DATA (it is {root}) to the folder that holds the data"
    raise ConfigError(f"{place}: no such file: {file}; {fix}")


def beside(path: str, folder: Path) -> str:
    """`path`; absolute where nothing of that name is in the working directory, but in `folder`."""
    file = Path(os.path.expanduser(os.path.expandvars(path)))
    there = folder.absolute() / file
    return str(there) if not file.exists() and there.exists() else path


def fail(error: ValueError) -> None:
    """What is done about a bad row unless another way was chosen."""
    raise error


def jsonl(file: Path, refuse: Callable[[ValueError], None] = fail) -> Iterator[tuple[str, Row]]:
    """(`FILE:LINE`, row) of a jsonl file in utf-8, with or without a byte order mark. Lines end at \\n only, since
    JSON text may hold other line separators. Blank lines are allowed at the end. A line that is no row goes to `refuse`
    as a ValueError."""
    blank = 0
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                blank = blank or number
                continue
            if blank:
                refuse(ValueError(f"{file}:{blank}: blank line; remove it"))
                blank = 0
            where = f"{file}:{number}"
            try:
                row = _object(line.removeprefix(b"\xef\xbb\xbf").rstrip(), where)
            except ValueError as error:
                refuse(error)
            else:
                yield where, row


def _object(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not utf-8 (byte {error.start + 1}); save the file as utf-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: invalid JSON: {error.msg} at column {error.colno}; write one JSON object a line"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise ValueError(f"{where}: invalid JSON: {error}; write one JSON object a line") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a {kind(row)} is not a row; write one JSON object a line")
    return row


def parquet(
    file: Path, columns: Sequence[str] | None, needed: Sequence[str], batch: int = 1024
) -> Iterator[tuple[str, Row]]:
    """(`FILE: row N`, row) of a parquet file with those of the `columns` (all when None) that it has, the `needed` ones
    among them, `batch` rows in memory at a time. Raises ValueError."""
    with _parquet_file(file) as table:
        there: list[str] = table.schema_arrow.names
        check_columns(needed, there, str(file))
        batches = table.iter_batches(batch, columns=[name for name in there if columns is None or name in columns])
        yield from ((f"{file}: row {n}", row) for n, row in enumerate((r for b in batches for r in b.to_pylist()), 1))


def parquet_counts(file: Path, name: str) -> dict[str | None, int]:
    """How many rows hold each value of the column; {None: all of them} where there is no such column."""
    with _parquet_file(file) as table:
        if name not in table.schema_arrow.names:
            return {None: table.metadata.num_rows}
        return dict(Counter(table.read(columns=[name]).column(0).to_pylist()))


@contextmanager
def _parquet_file(file: Path) -> Generator[Any]:
    native_libraries.require("pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            yield table
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file}: cannot be read as parquet: {first_line(error)}; write it again") from error


def check_columns(needed: Iterable[str], there: Sequence[str], place: str) -> None:
    """Raises ValueError for a needed column that is not there."""
    for name in needed:
        if name not in there:
            raise ValueError(f"{place}: no column '{name}'{did_you_mean(name, there)}")


def kind(value: Any) -> str:
    """What a value is called in a message."""
    names = {
        bytes: "bytes",
        str: "text",
        bool: "true or false",
        int: "number",
        float: "number",
        list: "list",
        dict: "mapping",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def column(row: Row, name: str, where: str) -> Any:
    """The row's column, or ValueError."""
    if name not in row:
        raise ValueError(f"{where}: no column '{name}'{did_you_mean(name, row)}")
    return row[name]


def text(value: Any, name: str, where: str, numbers: bool = False) -> str:
    """A column's value as text; a number only where `numbers` are welcome. Raises ValueError for anything else, and for
    text that no tokenizer could encode (half a surrogate pair, which JSON can express)."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if numbers and number:
        return str(value)
    if not isinstance(value, str):
        wanted = "text or a number" if numbers else "text"
        raise ValueError(f"{where}: column '{name}' is {kind(value)}, not {wanted}; correct the row")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: column '{name}' holds half a surrogate pair; correct the row") from error
    return value


def placeholders(template: str, place: str) -> list[str]:
    """The `{column}` names in a template. Raises ConfigError for what is not a plain name in braces."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{place}: {error}; write a literal brace twice: {{{{ or }}}}") from error
    for _, name, spec, conversion in parts:
        if name == "" or spec or conversion:
            raise ConfigError(f"{place}: only plain {{column}} names are filled in; write a literal brace twice")
    return [name for _, name, _, _ in parts if name is not None]


def render(template: str, values: Mapping[str, Any], where: str) -> str:
    """The template with each `{column}` replaced by its value, a text or a number. Raises ValueError."""
    out: list[str] = []
    for literal, name, _, _ in string.Formatter().parse(template):
        out.append(literal)
        if name is not None:
            if name not in values:
                raise ValueError(f"{where}: the template's {{{name}}} is no column{did_you_mean(name, values)}")
            out.append(text(values[name], name, where, numbers=True))
    return "".join(out)


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
