"""Reads the rows of JSON: one object a line, or one list of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rl.data.rows import Row, fail, type_name
from rl.json_files import open_file

FIX = "name a file of rows that can be read"


def json_rows(file: Path, refuse: Callable[[ValueError], None] = fail) -> Iterator[tuple[str, Row]]:
    """Yield (place, row) of a file that is one list of rows, or that has a row on each line (`jsonl`)."""
    with open_file(file, FIX) as content:
        start = content.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        return jsonl(file, refuse)
    return _json_list(file, refuse)


def _json_list(file: Path, refuse: Callable[[ValueError], None]) -> Iterator[tuple[str, Row]]:
    """Yield (`FILE: row N`, row) of a file that is one JSON list."""
    rows = _parse(file.read_bytes().removeprefix(b"\xef\xbb\xbf"), str(file), "write a list of rows")
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        where = f"{file}: row {number}"
        if isinstance(row, dict):
            yield where, row
        else:
            refuse(ValueError(f"{where}: a {type_name(row)} is not a row; write a list of objects"))


def jsonl(file: Path, refuse: Callable[[ValueError], None] = fail) -> Iterator[tuple[str, Row]]:
    """Yield (`FILE:LINE`, row) of a jsonl file in utf-8, with or without a byte order mark. Blank lines are allowed at
    the end. A line that is no row goes to `refuse` as a ValueError."""
    blank = 0
    with open_file(file, FIX) as lines:  # bytes, so that lines end at \n only: JSON text may hold other line separators
        for number, line in enumerate(lines, 1):
            if not line.strip():
                blank = blank or number  # an error only if a row follows
                continue
            if blank:
                refuse(ValueError(f"{file}:{blank}: blank line; remove it"))
                blank = 0
            where = f"{file}:{number}"
            try:
                row = _object(line.removeprefix(b"\xef\xbb\xbf").rstrip(), where)  # the byte order mark
            except ValueError as error:
                refuse(error)
            else:
                yield where, row


def _object(line: bytes, where: str) -> Row:
    fix = "write one JSON object a line"
    row = _parse(line, where, fix)
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a {type_name(row)} is not a row; {fix}")
    return row


def _parse(content: bytes, where: str, fix: str) -> Any:  # whatever JSON holds
    try:
        return json.loads(content.decode(), object_pairs_hook=_mapping_of_unique_keys)
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not utf-8 (byte {error.start + 1}); save the file as utf-8") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"{where}: invalid JSON: {error.msg} at {line}column {error.colno}; {fix}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise ValueError(f"{where}: invalid JSON: {error}; {fix}") from error


def _mapping_of_unique_keys(pairs: list[tuple[str, object]]) -> Row:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):  # of two values Python would keep the last, without a word
        names = [name for name, _ in pairs]
        twice = next(name for name in mapping if names.count(name) > 1)
        raise ValueError(f"key '{twice}' stands twice in an object")
    return mapping
