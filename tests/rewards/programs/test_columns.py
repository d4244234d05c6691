"""Tests in the forms of the data sets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rewards.contract import Case
from rewards.programs.columns import Assertions, CallTests, PrintTests, read_tests
from rl.types import Prompt


def prompt(fields: dict[str, Any], answer: str | None = None) -> Prompt:
    return replace(Case("", None, fields=fields).rollout().prompt, answer=answer)


PRINTED = {"inputs": ["1 2\n", "3 4"], "outputs": ["3\n", "7"]}
CALLED = {"fn_name": "add", "inputs": [[1, 2], [[3], "4"]], "outputs": [3, "7"]}


@pytest.mark.parametrize("columns", [PRINTED, {key: json.dumps(value) for key, value in PRINTED.items()}])
def test_programs_that_print(columns: dict[str, Any]):
    assert read_tests(prompt(columns)) == PrintTests(["1 2\n", "3 4"], ["3\n", "7"])
    assert read_tests(prompt({"input_output": json.dumps(columns)})) == read_tests(prompt(columns))
    assert read_tests(prompt({"input_output": columns})) == read_tests(prompt(columns))
    assert read_tests(prompt({}, json.dumps(columns))) == read_tests(prompt(columns))


def test_lists_of_lines():
    assert read_tests(prompt({"inputs": [["1", "2"]], "outputs": [["3"]]})) == PrintTests(["1\n2"], ["3"])


def test_calls():
    right = CallTests("add", [[1, 2], [[3], "4"]], [3, "7"])
    assert read_tests(prompt(CALLED)) == right
    assert read_tests(prompt({"input_output": json.dumps(CALLED)})) == right
    assert read_tests(prompt({}, json.dumps(CALLED))) == right
    assert read_tests(prompt({**CALLED, "inputs": json.dumps(CALLED["inputs"])})) == right
    arrays = {**CALLED, "inputs": np.array([np.array([1, 2]), np.array([[3], "4"], dtype=object)], dtype=object)}
    assert read_tests(prompt(arrays)) == right
    beside = {"fn_name": "add", "input_output": {"inputs": CALLED["inputs"], "outputs": CALLED["outputs"]}}
    assert read_tests(prompt(beside)) == right


def test_calls_as_texts():
    fields = {
        "fn_name": "f",
        "inputs": ['[1, 2]\n"a"', "abc", '"abc"', "", "null"],
        "outputs": ["[3]", "x y", '"z"', "1", "null"],
    }
    right = CallTests("f", [[[1, 2], "a"], ["abc"], ["abc"], [], [None]], [[3], "x y", "z", 1, None])
    assert read_tests(prompt(fields)) == right


def test_a_program_without_a_function_prints():
    assert isinstance(read_tests(prompt({**PRINTED, "fn_name": None})), PrintTests)


def test_assertions():
    tests = read_tests(prompt({"test_list": np.array(["assert f(1)"]), "test_imports": [], "test_setup_code": "x = 1"}))
    assert tests == Assertions(["assert f(1)"], "", ["x = 1"], "", "")


@pytest.mark.parametrize("fields", [{}, {"input_output": "{}"}, {"input_output": "not JSON"}, {"fn_name": "f"}])
def test_no_tests(fields: dict[str, Any]):
    with pytest.raises(ValueError, match="has no tests"):
        read_tests(prompt(fields))
    with pytest.raises(ValueError, match="2 inputs and 1 outputs"):
        read_tests(prompt({**PRINTED, "outputs": ["3"]}))
