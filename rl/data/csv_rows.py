"""Reads csv files, as spreadsheets and pandas write them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path

from rl.data.rows import Row, fail
from rl.json_files import open_file

FIX = "name a csv file that can be read"
DELIMITERS = ",;\t"
"""Signs between cells; the one that stands most often in the header is the file's."""


def csv_rows(file: Path, refuse: Callable[[ValueError], None] = fail) -> Iterator[tuple[str, Row]]:
    """Yield (`FILE:LINE`, row) of a csv file in utf-8 with a header. Every value is text, an empty cell null. A line with too
    many or too few cells goes to `refuse` as a ValueError. Raises ValueError for a file that cannot be read."""
    csv.field_size_limit(sys.maxsize)  # 131,072 letters otherwise, which a chain of thought may exceed
    with _open(file) as text:
        # `strict`: without it a quote that is never closed makes one cell of the rest of the file, and no error.
        reader = csv.reader(text, delimiter=_delimiter(file), strict=True)
        try:
            header = _header(next(reader, []), file)
            start = reader.line_num + 1  # a quoted cell may run over several lines
            for cells in reader:
                where, start = f"{file}:{start}", reader.line_num + 1
                if len(cells) == len(header):
                    yield where, {name: cell or None for name, cell in zip(header, cells, strict=True)}
                elif cells:  # else a blank line
                    fix = f"put text that holds '{reader.dialect.delimiter}' or a line break in double quotes"
                    refuse(ValueError(f"{where}: {len(cells)} cells, and the header has {len(header)}; {fix}"))
        except (csv.Error, UnicodeDecodeError) as error:
            raise _explain(error, file, reader.line_num) from error


def csv_columns(file: Path) -> list[str]:
    """Return the names in the header of a csv file. Raises ValueError for one that cannot be read."""
    try:
        with _open(file) as text:
            return _header(next(csv.reader(text, delimiter=_delimiter(file)), []), file)
    except (csv.Error, UnicodeDecodeError) as error:
        raise _explain(error, file, 1) from error


def _open(file: Path) -> TextIOWrapper:
    # `utf-8-sig`: spreadsheets write a byte order mark, which would become part of the first column's name.
    return TextIOWrapper(open_file(file, FIX), encoding="utf-8-sig", newline="")


def _explain(error: Exception, file: Path, line: int) -> ValueError:
    if isinstance(error, UnicodeDecodeError):
        return ValueError(f"{file}: not utf-8 ({error.reason}); save the file as utf-8")
    return ValueError(f"{file}:{line}: not valid csv ({error}); write it again")


def _delimiter(file: Path) -> str:
    with open_file(file, FIX) as lines:
        header = lines.readline().decode("utf-8", "replace")
    return max(DELIMITERS, key=header.count)


def _header(names: list[str], file: Path) -> list[str]:
    """Return the names of the columns. Raises ValueError where one has none or stands twice."""
    if not any(name.strip() for name in names):
        raise ValueError(f"{file}: no header; write the names of the columns into its first line")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{file}:1: column '{name}' stands twice; rename one")
    return names
