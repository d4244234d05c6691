"""Reads the rows of data files: their places, what their columns hold, and the text made of them.

A row is a plain dict; its place is `FILE:LINE` (jsonl) or `FILE: row N` (others, counted from 1), so that every
mistake in a row can be found with an editor.
"""

from __future__ import annotations

import hashlib
import math
import os
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from rl.config import ConfigError, did_you_mean

Row = dict[str, Any]
"""A row of a data file: whatever JSON or parquet holds, by column."""
SPLITS = {"train": 0.8, "validation": 0.9, "test": 1.0}
"""Upper bounds, in `rank`, of the splits of data that have no splits of their own."""


def rank(text: str) -> float:
    """Return a fixed pseudo-random number in [0, 1) for `text`, from SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48  # 48 bits are exact in a float


def split_of(text: str) -> str:
    """Return the split of a text, a function of the text alone: it never crosses splits, whatever else is read."""
    number = rank(text)
    return next(name for name, bound in SPLITS.items() if number < bound)


def normal_split(name: str) -> str:
    """Return the name of a split as all its spellings have it: `Train` and `train ` are `train`."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def check_split_column(column: str, names: Iterable[str], place: str) -> None:
    """Raise ValueError where `names` have no such column, but one that differs only in how it is written: without its
    splits, training would read the rows of the test."""
    columns = list(names)
    for name in columns:
        if column not in columns and normal_split(name) == normal_split(column):
            raise ValueError(f"{place}: no column '{column}', but '{name}'; write `split_column: '{name}'`")


def check_split(split: str | None, names: Iterable[str], place: str) -> None:
    """Raise ValueError when `split` is none of `names`; None, all splits, always passes."""
    splits = list(names)
    if split is not None and split not in splits:
        verb = "is" if len(splits) == 1 else "are"
        raise ValueError(f"{place}: no split '{split}'; there {verb} {', '.join(splits)}")


def locate(path: str, place: str) -> Path:
    """The file or folder `path` names, environment variables and `~` resolved. Raises ConfigError when it is missing."""
    file = Path(os.path.expanduser(os.path.expandvars(path)))
    if os.path.exists(file):  # unlike Path.exists it answers for names that are too long for any file
        return file
    root = os.environ.get("GROUNDTONE_DATA")
    if not root and "GROUNDTONE_DATA" in str(file):
        example = "set it, for example GROUNDTONE_DATA=~/groundtone-data"
        raise ConfigError(f"{place}: {file} is in the folder that GROUNDTONE_DATA names; {example}")
    fix = "correct the path"
    if root and file.is_relative_to(root):
        # Not the variable's value: messages hide what comes from the environment.
        fix = "the folder that GROUNDTONE_DATA names has none; set the variable to the one that holds the data"
    raise ConfigError(f"{place}: no such file: {file}; {fix}")


def top_level(columns: Iterable[str]) -> set[str]:
    """Return the columns as they are, and those of which they are parts: `reward_model` of `reward_model.ground_truth`."""
    names = {name.removesuffix("?") for name in columns} | {*columns}
    return names | {name.partition(".")[0] for name in names}


def resolve_in(folder: Path, path: str) -> str:
    """Return `path` within `folder`, absolute, where it exists there and not in the working directory; else as it is."""
    file = Path(os.path.expanduser(os.path.expandvars(path)))
    candidate = folder.absolute() / file
    return str(candidate) if not os.path.exists(file) and os.path.exists(candidate) else path


def fail(error: ValueError) -> None:
    """Raise the error of a bad row: the default of `refuse` arguments, which may count it instead."""
    raise error


def check_columns(required: Iterable[str], names: Sequence[str], place: str) -> None:
    """Raise ValueError for a `required` column that is not among `names`, nor a part of one."""
    for name in required:
        if name not in names and name.partition(".")[0] not in names:
            raise ValueError(f"{place}: no column '{name}'{did_you_mean(name, names)}")


def type_name(value: object) -> str:
    """Return the type of a value in a user's words, for messages."""
    names: dict[type, str] = {
        bytes: "bytes",
        str: "text",
        bool: "true or false",
        int: "number",
        float: "number",
        list: "list",
        dict: "mapping",
    }
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    return "null" if value is None else names.get(type(value), type(value).__name__)


def optional(name: str) -> str:
    """Return the name of a column that rows may lack, as `fields` has it: `solution?`."""
    return f"{name}?"


def is_optional(name: str) -> bool:
    """Return whether rows may lack the column."""
    return name.endswith("?")


def column(row: Row, name: str, where: str) -> Any:
    """Return the value of a row's column, or of a part of it: `reward_model.ground_truth`, `prompt.0.content`. Raises
    ValueError where there is none; with `?` after the name it is None then."""
    if name in row:
        return row[name]
    if is_optional(name):
        name = name.removesuffix("?")
        return column(row, name, where) if has_column(row, name) else None
    head, *keys = name.split(".")
    if head not in row or not keys:
        raise ValueError(f"{where}: no column '{name}'{did_you_mean(name, flat_names(row))}")
    value = row[head]
    for key in keys:
        if value is None:
            return None
        value = _part(value, key, head, where)
        head = f"{head}.{key}"
    return value


def _part(value: object, key: str, name: str, where: str) -> object:
    """Return the item `key` of a mapping or of a list, the value of the column `name`."""
    if isinstance(value, Mapping):
        if key not in value:
            raise ValueError(f"{where}: column '{name}' has no key '{key}'{did_you_mean(key, value)}")
        return value[key]
    if isinstance(value, list) and key.removeprefix("-").isdecimal():
        if not -len(value) <= int(key) < len(value):
            raise ValueError(f"{where}: column '{name}' has {len(value)} items and no '{key}'; they are counted from 0")
        return value[int(key)]
    kind = "list; number its items from 0" if isinstance(value, list) else f"{type_name(value)}, not a mapping"
    raise ValueError(f"{where}: column '{name}' is a {kind}; it has no '{key}'")


def has_column(row: Row, name: str) -> bool:
    """Return whether a row has the column, or the part of one."""
    if name.partition(".")[0] not in row:
        return name in row  # most rows lack most optional columns: no message is put together for each of them
    try:
        column(row, name, "")
    except ValueError:
        return False
    return True


def flat_names(row: Mapping[str, object]) -> list[str]:
    """Return the names of a row's columns, and after that of a mapping those of its parts."""
    names: list[str] = []
    for name, value in row.items():
        names.append(name)
        if isinstance(value, Mapping):
            names += [f"{name}.{inner}" for inner in flat_names(value)]
    return names


def text(value: object, name: str, where: str, numbers: bool = False) -> str:
    """Return a column's value as text; with `numbers`, a number too, in plain decimal digits. Raises ValueError for anything
    else, and for text that no tokenizer could encode."""
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)
    if numbers and number:
        return plain_decimal(value)
    if not isinstance(value, str):
        expected = "text or a number" if numbers else "text"
        # A date or a truth value has many written forms, and only the user knows which one an answer takes.
        is_stored_type = numbers and value is not None and not isinstance(value, float | list | dict)
        fix = "store it as text, as an answer would say it" if is_stored_type else "correct the row"
        raise ValueError(f"{where}: column '{name}' is {type_name(value)}, not {expected}; {fix}")
    try:
        value.encode()  # fails for half a surrogate pair, which JSON can express as "\ud800"
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: column '{name}' holds half a surrogate pair; correct the row") from error
    return value


def plain_decimal(number: float | Decimal) -> str:
    """Return a finite number in decimal digits, without an exponent and without zeros that say nothing: 42.0 is `42`, 1e-5
    is `0.00001`. A float column holds whole numbers too, wherever one of its rows is null or has a fraction."""
    if isinstance(number, int):
        return str(number)
    # `repr` has the fewest digits that give the same float, `Decimal` writes them out.
    digits = format(Decimal(repr(number)) if isinstance(number, float) else number, "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def is_missing(value: object) -> bool:
    """Return whether a value stands for none: null, or the NaN that pandas and numpy store in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def placeholders(template: str, place: str) -> list[str]:
    """Return the `{column}` names in a template. Raises ConfigError for anything but a plain name in braces."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{place}: {error}; write a literal brace twice: {{{{ or }}}}") from error
    for _, name, spec, conversion in parts:
        if name == "" or spec or conversion:
            raise ConfigError(f"{place}: only plain {{column}} names are filled in; write a literal brace twice")
    return [name for _, name, _, _ in parts if name is not None]


def render(template: str, values: Mapping[str, object], where: str) -> str:
    """Return the template with each `{column}` replaced by its value, a text or a number. Raises ValueError."""
    pieces: list[str] = []
    # Not `str.format`, which would render any value, and attributes and items of it.
    for literal, name, _, _ in string.Formatter().parse(template):
        pieces.append(literal)
        if name is not None:
            if name.partition(".")[0] not in values and name not in values:
                raise ValueError(f"{where}: the template's {{{name}}} is no column{did_you_mean(name, values)}")
            pieces.append(text(column(values, name, where), name, where, numbers=True))
    return "".join(pieces)
