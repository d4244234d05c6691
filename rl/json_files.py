"""Reads JSON files that others wrote, every value with its type: what is damaged or of another kind is one line that
names the file, the key and the fix."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import types
import typing
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path

from rl.config import shorten

T = typing.TypeVar("T")
LARGEST = 2**63 - 1
"""Largest whole number that is taken for a size, a count or an id."""


def read_object(file: Path, fix: str) -> dict[str, object]:
    """Return the mapping in a JSON file. Raises ValueError, which ends with `fix`, for a file that cannot be read or holds
    something else."""
    return parse_object(read_bytes(file, fix), str(file), fix)


def read_bytes(file: Path, fix: str) -> bytes:
    """Return the content of a file. Raises ValueError, which ends with `fix`, where it cannot be read."""
    with open_file(file, fix) as content:
        return content.read()


def open_file(file: Path, fix: str) -> BufferedReader:
    """Open a file to be read. Raises ValueError, which ends with `fix`, where that fails."""
    if os.path.exists(file) and not os.path.isfile(file):  # a pipe would be waited for forever
        raise ValueError(f"{file}: is no file; {fix}")
    try:
        return file.open("rb")
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({(error.strerror or str(error)).lower()}); {fix}") from error


def parse_object(content: bytes, place: str, fix: str) -> dict[str, object]:
    """Return the mapping that JSON text holds. Raises ValueError, which begins with `place` and ends with `fix`."""
    try:
        # Editors on Windows begin a file with a byte order mark, which JSON does not allow.
        values = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: is not utf-8 (byte {error.start + 1}); {fix}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: invalid JSON: {error.msg} (line {error.lineno}); {fix}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise ValueError(f"{place}: invalid JSON: {str(error).partition(';')[0]}; {fix}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{place}: holds {kind_of(values)}, not a mapping; {fix}")
    return typing.cast("dict[str, object]", values)


def read_records(cls: type[T], file: Path, fix: str) -> Iterator[tuple[str, T]]:
    """Yield (`FILE:LINE`, record) of a file that has a dataclass as JSON on each line. A missing file has none, and a last
    line that a kill has torn is left out. Raises ValueError, which ends with `fix`, for any other line."""
    if not os.path.lexists(file):
        return
    with open_file(file, fix) as lines:
        for number, line in enumerate(lines, 1):
            if line.endswith(b"\n"):
                place = f"{file}:{number}"
                yield place, build_record(cls, parse_object(line, place, fix), place, fix)


def kind_of(value: object) -> str:
    """Return the kind of a JSON value in words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {type(None): "null", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


class Fields:
    """A mapping in a JSON file of others, whose values are read one by one. Every method takes several names for the
    same thing, returns the first value that is not null, None without one, and raises ValueError for a value of another
    kind.

    Example: `Fields(read_object(file, fix), file, fix).whole("hidden_size", "n_embd", least=1)`.
    """

    def __init__(self, values: Mapping[str, object], place: object, fix: str) -> None:
        self.values, self.place, self.fix = values, place, fix

    def first(self, *names: str) -> tuple[str, object]:
        """Return the first of `names` whose value is not null, and the value; the last name and None without any."""
        return next(
            ((name, self.values[name]) for name in names if self.values.get(name) is not None), (names[-1], None)
        )

    def whole(self, *names: str, least: int = 0) -> int | None:
        """Return a whole number, at least `least`."""
        name, value = self.first(*names)
        if value is not None and not is_whole(value, least):
            self.refuse(name, value, f"a whole number from {least}")
        return typing.cast("int | None", value)

    def wholes(self, *names: str) -> list[int]:
        """Return a list of whole numbers, of one where a single number stands there, and empty without any."""
        name, value = self.first(*names)
        values = typing.cast("list[object]", value) if isinstance(value, list) else [] if value is None else [value]
        if not all(is_whole(each, 0) for each in values):
            self.refuse(name, value, "a whole number from 0, or a list of such")
        return typing.cast("list[int]", values)

    def number(self, *names: str) -> float | None:
        """Return a finite number."""
        name, value = self.first(*names)
        # NaN and the infinities, which Python reads in JSON, fail the comparison.
        if value is not None and not (is_number(value) and abs(typing.cast("float", value)) <= LARGEST):
            self.refuse(name, value, "a finite number")
        return typing.cast("float | None", value)

    def flag(self, *names: str) -> bool | None:
        """Return true or false."""
        return self._plain(bool, "true or false", *names)

    def text(self, *names: str) -> str | None:
        """Return a text."""
        return self._plain(str, "a text", *names)

    def texts(self, *names: str) -> list[str]:
        """Return a list of texts, empty without one."""
        name, value = self.first(*names)
        values = typing.cast("list[object]", value) if isinstance(value, list) else None
        if value is not None and (values is None or not all(isinstance(each, str) for each in values)):
            self.refuse(name, value, "a list of texts")
        return typing.cast("list[str]", values or [])

    def inner(self, *names: str) -> Fields:
        """Return the fields of a mapping in it, which has none where there is no such mapping."""
        name, value = self.first(*names)
        if value is not None and not isinstance(value, dict):
            self.refuse(name, value, "a mapping")
        return Fields(typing.cast("dict[str, object]", value or {}), f"{self.place}: {name}", self.fix)

    def _plain(self, kind: type[T], words: str, *names: str) -> T | None:
        name, value = self.first(*names)
        if value is None or isinstance(value, kind):
            return value
        self.refuse(name, value, words)

    def refuse(self, name: str, value: object, words: str) -> typing.NoReturn:
        """Raise the ValueError for a `value` that is not what `words` say."""
        raise ValueError(f"{self.place}: {name} is {shorten(value)}, not {words}; {self.fix}")


def build_record(cls: type[T], values: Mapping[str, object], place: object, fix: str) -> T:
    """Return a dataclass with the values of its fields, each of the annotated kind; other keys are left out. Raises
    ValueError, which begins with `place` and ends with `fix`."""
    hints = typing.get_type_hints(cls)
    arguments: dict[str, object] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name in values:
            arguments[field.name] = _typed(hints[field.name], values[field.name], f"{place}: {field.name}", fix)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{place}: has no {field.name}; {fix}")
    return cls(**arguments)


def _typed(hint: object, value: object, place: str, fix: str) -> object:
    """Return `value` as the annotation `hint` says: a text, a number, true or false, null, a list, a mapping, a record."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _typed(next(arg for arg in args if arg is not type(None)), value, place, fix)
    if origin in (collections.abc.Mapping, dict) and isinstance(value, dict):
        entries = typing.cast("dict[str, object]", value)
        return {key: _typed(args[1], entry, f"{place}: {key}", fix) for key, entry in entries.items()}
    if origin in (collections.abc.Sequence, list, tuple) and isinstance(value, list):
        items = typing.cast("list[object]", value)
        return tuple(_typed(args[0], item, f"{place}[{i}]", fix) for i, item in enumerate(items))
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return build_record(typing.cast("type[object]", hint), typing.cast("dict[str, object]", value), place, fix)
    is_right = {
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        float: is_number(value),
        int: is_whole(value, 0),
    }
    if is_right.get(typing.cast("type", hint), hint in (typing.Any, object)):
        return value
    raise ValueError(f"{place} is {shorten(value)}, not {_words(hint)}; {fix}")


def _words(hint: object) -> str:
    names: dict[object, str] = {str: "a text", bool: "true or false", float: "a number", int: "a whole number"}
    is_list = typing.get_origin(hint) in (collections.abc.Sequence, list, tuple)
    return names.get(hint, "a list" if is_list else "a mapping")


def is_whole(value: object, least: int) -> bool:
    """Return whether a value is a whole number from `least` that fits 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST


def is_number(value: object) -> bool:
    """Return whether a value is a number, a whole one of at most 64 bits; true and false are none."""
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    )
