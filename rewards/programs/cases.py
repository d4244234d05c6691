"""Reads tests that a data set lists one by one, each with its input and its output.

| data set | columns |
|---|---|
| LiveCodeBench | `public_test_cases`, `private_test_cases`: JSON, or JSON compressed and in base64; `metadata` names the function, or `starter_code` |
| CodeContests | `public_tests`, `private_tests`, `generated_tests`: a mapping of two lists, `input` and `output` |
| DeepCoder, SYNTHETIC-1 | `tests` or `test_cases`, or the answer: a list of such tests, each with its `fn_name`, or JSON of it |
"""

from __future__ import annotations

import base64
import json
import pickletools
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

COLUMNS = ("public_test_cases", "private_test_cases")
"""Columns that hold nothing but tests: what cannot be read there is an error."""
OTHER_COLUMNS = ("public_tests", "private_tests", "generated_tests", "test_cases", "tests")
"""Columns that hold tests in some data sets, and something else in others."""
LARGEST_BYTES = 1 << 28
"""Most bytes of a compressed column: a few kilobytes may hold gigabytes."""
NO_JSON = object()
"""The value of a text that is no JSON."""
_CALLED = {"functional", "function", "function_call", "call", "call_based"}
_PRINTED = {"stdin", "stdio", "stdin_stdout", "standard_input"}
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_HARMLESS = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


@dataclass(frozen=True, slots=True)
class ListedTests:
    """Inputs, outputs, and the function that is called; None for programs that print."""

    inputs: list[object]
    outputs: list[object]
    function: str | None


def read_listed_tests(fields: Mapping[str, object], answer: str | None) -> ListedTests | None:
    """Return the tests that the columns list, public and hidden ones, or else the answer; None where they list none. Raises
    ValueError for columns that cannot be read, and for tests of several functions or ways."""
    columns = [(name, fields[name]) for name in (*COLUMNS, *OTHER_COLUMNS) if fields.get(name) is not None]
    tests = [test for name, value in columns for test in _read_column(value, name)]
    if not tests and answer is not None:
        tests = [*_read_column(answer, "answer")]
    if not tests:
        return None
    shared = _find_function(fields)
    functions = {_function_of(test, shared) for test in tests}
    if len(functions) > 1:
        ways = ", ".join(sorted(f"call {name}" if name else "print" for name in functions))
        raise ValueError(f"tests that {ways}: give those of one way and function")
    return ListedTests([test["input"] for test in tests], [test["output"] for test in tests], functions.pop())


def _function_of(test: Mapping[str, object], shared: str | None) -> str | None:
    """Return the function that a test calls, which may be that of the whole problem; None for a test that prints."""
    kind = str(test.get("testtype") or test.get("type") or "").lower()
    if kind in _PRINTED:
        return None
    function = _find_function(test) or shared
    if kind in _CALLED and not function:
        raise ValueError("tests that call a function, and neither fn_name, metadata nor starter_code names it")
    return function


def _find_function(fields: Mapping[str, object]) -> str | None:
    """Return the function that columns, their `metadata` or the `starter_code` name."""
    metadata = fields.get("metadata")
    if isinstance(metadata, str):
        metadata = read_json(metadata)
    inner = cast("Mapping[str, object]", metadata) if isinstance(metadata, Mapping) else dict[str, object]()
    for place in (fields, inner):
        for name in ("fn_name", "func_name", "function_name"):
            if isinstance(value := place.get(name), str) and value.strip():
                return value.strip()
    # The code is a beginning, which no parser reads: `class Solution:\n    def add(self, a: int) -> int:\n        `.
    methods = re.findall(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", str(fields.get("starter_code") or ""), re.MULTILINE)
    public = [name for name in methods if not name.startswith("_")]
    return public[0] if len(public) == 1 else None


def _read_column(value: object, name: str) -> Iterator[Mapping[str, object]]:
    """Yield the tests in a column, each a mapping with `input` and `output`. Raises ValueError for one of `COLUMNS` that
    holds something else; any other yields nothing then."""
    try:
        value = _decode(value) if isinstance(value, str) else to_plain(value)
        tests = _split(value)
    except ValueError as error:
        if name in COLUMNS:
            raise ValueError(
                f"column '{name}': {error}; store the tests as JSON: a list of {{input, output}}"
            ) from error
        return
    yield from tests


def _split(value: object) -> list[Mapping[str, object]]:
    """Return the tests of a list of them, or of a mapping with a list of inputs and one of outputs."""
    if isinstance(value, Mapping):
        columns = cast("Mapping[str, object]", value)
        inputs, outputs = (to_plain(columns.get(name, columns.get(f"{name}s"))) for name in ("input", "output"))
        if not isinstance(inputs, list) or not isinstance(outputs, list):
            raise ValueError("a mapping without lists of inputs and outputs")
        if len(cast("list[object]", inputs)) != len(cast("list[object]", outputs)):
            raise ValueError("not one output for each input")
        pairs = zip(cast("list[object]", inputs), cast("list[object]", outputs), strict=True)
        return [{**columns, "input": given, "output": result} for given, result in pairs]
    tests = cast("list[object]", value if isinstance(value, list) else [] if value is None else [value])
    if not all(isinstance(test, Mapping) and {"input", "output"} <= test.keys() for test in tests):
        raise ValueError("not all of its entries have an input and an output")
    return [
        {**test, "input": to_plain(test["input"]), "output": to_plain(test["output"])}
        for test in cast("list[Mapping[str, object]]", tests)
    ]


def _decode(text: str) -> object:
    """Return what JSON holds, as it stands or compressed (zlib or gzip) and in base64, by LiveCodeBench as a pickled text.
    Raises ValueError for anything else."""
    if not text.strip():
        return None
    value = read_json(text)
    if value is NO_JSON:
        value = read_json(_decompress(text))
    if isinstance(value, str):  # JSON of a text that is JSON
        value = read_json(value)
    if value is NO_JSON:
        raise ValueError("is no JSON")
    return value


def _decompress(text: str) -> str:
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # with the header of zlib or of gzip
    try:
        # Unless validated, characters that are not base64 are dropped, and many a text would decode to something.
        content = stream.decompress(base64.b64decode("".join(text.split()), validate=True), LARGEST_BYTES)
    except (ValueError, zlib.error) as error:
        raise ValueError("neither JSON nor base64 of compressed JSON") from error
    if not stream.eof:
        raise ValueError("cut short, or more than 256 MiB when decompressed")
    return _read_pickled_text(content) if content[:1] == b"\x80" else content.decode()


def _read_pickled_text(content: bytes) -> str:
    """Return the text in a pickle of a single text. Nothing is unpickled, which could run code: its opcodes are read."""
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _TEXTS:
            texts.append(str(argument))
        elif opcode.name not in _HARMLESS:
            raise ValueError("a pickle that is more than a text")
    if len(texts) != 1:
        raise ValueError("a pickle that is not one text")
    return texts[0]


def to_plain(value: object) -> object:
    """Return a value with lists for arrays and tuples, at any depth."""
    if isinstance(value, np.ndarray | np.generic):
        value = cast(object, value.tolist())  # of lists, an array of arrays: these are left
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in cast(Sequence[object], value)]
    return value


def read_json(text: str) -> object:
    """Return what JSON holds; NO_JSON for a text that is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return NO_JSON
