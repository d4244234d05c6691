"""Reads tests as data sets write them into columns.

| data set | columns |
|---|---|
| HumanEval | `prompt` (the beginning of the function), `entry_point`, `test` (a module with `check(candidate)`) |
| MBPP | `test_list` (assertions), `test_imports` or `test_setup_code` |
| programs that print | `inputs` and `outputs`, texts; a list of lines is one text |
| APPS, TACO | `fn_name` beside `inputs` (a list of arguments for each call) and `outputs` (values, or each in a list of its own) |
| PRIME | the same with texts: an argument in JSON on each line, and a result in JSON |

The last three may also stand together, as a mapping or as JSON, in the column `input_output` or in the answer. Tests that are
listed one by one, as LiveCodeBench has them, are read by `rewards.programs.cases`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from rewards.programs.cases import NO_JSON, read_json, read_listed_tests, to_plain
from rl.types import Prompt


@dataclass(frozen=True, slots=True)
class PrintTests:
    """Inputs of a program, and what it must print for each."""

    inputs: list[str]
    """The input of each run."""
    outputs: list[str]
    """The text that each run must print."""


@dataclass(frozen=True, slots=True)
class CallTests:
    """Calls of a function, and what each must return."""

    function: str
    """Name of the function, or of a method of the program's class."""
    arguments: list[list[object]]
    """Positional arguments of each call."""
    results: list[object]
    """Result of each call."""


@dataclass(frozen=True, slots=True)
class Assertions:
    """Assertions, a module of tests, or both."""

    test_list: list[str]
    """Assertions, each a test of its own."""
    module: str
    """Source of a module of tests; "" for none."""
    imports: list[str]
    """Code that runs before the tests."""
    preamble: str
    """The beginning of the program, which the prompt shows."""
    entry_point: str
    """The function that `check` gets; "" where no column names it."""


def read_tests(prompt: Prompt) -> PrintTests | CallTests | Assertions:
    """Return the tests that a prompt's columns give. Raises ValueError where they give none, or not one output for each
    input."""
    fields = prompt.fields
    columns = _read_mapping(fields.get("input_output")) or fields
    if "inputs" not in columns and not (fields.get("test") or fields.get("test_list")):
        columns = _read_mapping(prompt.answer) or columns
    if "inputs" in columns:
        inputs, outputs = _read_list(columns["inputs"]), _read_list(columns.get("outputs"))
        if len(inputs) != len(outputs) or not inputs:
            raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs: one of each for each test")
        function = columns.get("fn_name") or fields.get("fn_name")
        return _build_tests(str(function) if function else None, inputs, outputs)
    listed = None if fields.get("test") or fields.get("test_list") else read_listed_tests(fields, prompt.answer)
    if listed:
        return _build_tests(listed.function, listed.inputs, listed.outputs)
    module, tests = str(fields.get("test") or ""), _read_texts(fields.get("test_list"))
    if not module and not tests:
        names = "neither test, test_list, inputs nor public_test_cases"
        raise ValueError(f"prompt '{prompt.id}' has no tests: {names} among its fields")
    imports = [*_read_texts(fields.get("test_imports")), str(fields.get("test_setup_code") or "")]
    return Assertions(tests, module, imports, str(fields.get("prompt") or ""), str(fields.get("entry_point") or ""))


def _build_tests(function: str | None, inputs: list[object], outputs: list[object]) -> PrintTests | CallTests:
    """Return calls of the function, or without one what a program must print."""
    if function:
        return _read_calls(function, inputs, outputs)
    return PrintTests([_join_lines(text) for text in inputs], [_join_lines(text) for text in outputs])


def _read_mapping(value: object) -> Mapping[str, object] | None:
    """Return a mapping with `inputs`, given as such or as JSON; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping) or "inputs" not in value:
        return None
    return cast(Mapping[str, object], value)


def _read_list(value: object) -> list[object]:
    """Return a column's list: parquet gives arrays, some data sets JSON, some a single text."""
    value = to_plain(value)
    if isinstance(value, str):
        parsed = read_json(value)
        return cast(list[object], parsed) if isinstance(parsed, list) else [value]
    if value is None:
        return []
    return cast(list[object], value) if isinstance(value, list) else [value]


def _read_texts(value: object) -> list[str]:
    return [str(text) for text in _read_list(value)]


def _join_lines(value: object) -> str:
    """Return a program's input or output: a text, or a list of its lines."""
    return "\n".join(map(str, cast(list[object], value))) if isinstance(value, list) else str(value)


def _read_calls(function: str, inputs: list[object], outputs: list[object]) -> CallTests:
    """Return calls with their arguments and results in the types that the function takes and returns."""
    arguments, results = list[list[object]](), list[object]()
    for given, result in zip(inputs, outputs, strict=True):
        if isinstance(given, str):
            lines = [read_json(line) for line in given.strip().split("\n")] if given.strip() else []
            # A text that is not JSON throughout is one argument as it stands.
            arguments.append([given] if NO_JSON in lines else lines)
            parsed = read_json(result) if isinstance(result, str) else result
            results.append(result if parsed is NO_JSON else parsed)
        else:
            arguments.append(cast(list[object], given) if isinstance(given, list) else [given])
            results.append(result)
    return CallTests(function, arguments, results)
