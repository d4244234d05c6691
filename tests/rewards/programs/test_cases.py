"""Tests that data sets list one by one, as they encode them."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rewards.contract import Case
from rewards.programs import cases
from rewards.programs.columns import CallTests, PrintTests, read_tests
from rewards.verifiers import code
from rl.types import Prompt

PRINTED = [
    {"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
    {"input": "3 4", "output": "7", "testtype": "stdin"},
]
CALLED = [
    {"input": "[1, 2]\n3", "output": "[4, 5]", "testtype": "functional"},
    {"input": '[]\n"a"', "output": "null", "testtype": "functional"},
]
CALLS = CallTests("add", [[[1, 2], 3], [[], "a"]], [[4, 5], None])
PRINTS = PrintTests(["1 2\n", "3 4"], ["3\n", "7"])
METADATA = json.dumps({"func_name": "add"})
STARTER = "class Solution:\n    def add(self, a: List[int], b: int) -> List[int]:\n        "


def prompt(fields: dict[str, Any], answer: str | None = None) -> Prompt:
    return replace(Case("", None, fields=fields).rollout().prompt, answer=answer)


def packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


def hidden(tests: object) -> str:
    """As LiveCodeBench hides its tests."""
    return packed(pickle.dumps(json.dumps(tests)))


HIDDEN = {
    "pickled": hidden,
    "an older pickle": lambda tests: packed(pickle.dumps(json.dumps(tests), protocol=2)),
    "compressed": lambda tests: packed(json.dumps(tests).encode()),
    "gzip": lambda tests: base64.b64encode(gzip.compress(json.dumps(tests).encode())).decode(),
    "in lines": lambda tests: base64.encodebytes(zlib.compress(pickle.dumps(json.dumps(tests)))).decode(),
    "JSON": json.dumps,
    "JSON of JSON": lambda tests: json.dumps(json.dumps(tests)),
    "a list": lambda tests: tests,
    "an array": lambda tests: np.array(tests, dtype=object),
}


@pytest.mark.parametrize("encoding", HIDDEN)
def test_public_and_hidden_tests(encoding: str) -> None:
    for tests, right in ((PRINTED, PRINTS), (CALLED, CALLS)):
        fields = {"public_test_cases": json.dumps(tests[:1]), "private_test_cases": HIDDEN[encoding](tests[1:])}
        assert read_tests(prompt({**fields, "metadata": METADATA, "starter_code": ""})) == right


@pytest.mark.parametrize(
    "names",
    [
        {"metadata": METADATA},
        {"metadata": {"func_name": "add"}},
        {"metadata": '{"fn_name": "add"}'},
        {"fn_name": "add"},
        {"metadata": "{}", "starter_code": STARTER},
        {"starter_code": "def add(a, b):\n"},
        {
            "starter_code": "class Node:\n    def __init__(self):\n        pass\nclass Solution:\n    def add(self, a, b):"
        },
    ],
)
def test_who_names_the_function(names: dict[str, Any]) -> None:
    assert read_tests(prompt({"public_test_cases": json.dumps(CALLED), **names})) == CALLS


def test_tests_of_other_data_sets() -> None:
    columns = {"input": ["1 2\n", "3 4"], "output": ["3\n", "7"]}
    assert read_tests(prompt({"public_tests": columns, "private_tests": {"input": [], "output": []}})) == PRINTS
    halves = [{name: values[i : i + 1] for name, values in columns.items()} for i in range(2)]
    assert read_tests(prompt({"public_tests": halves[0], "generated_tests": json.dumps(halves[1])})) == PRINTS
    listed = [{"type": "function_call", "fn_name": "add", "input": [1, 2], "output": [3]}]
    assert read_tests(prompt({"tests": json.dumps(listed)})) == CallTests("add", [[1, 2]], [[3]])
    listed = [{**test, "metadata": {"func_name": "add"}} for test in CALLED]
    assert read_tests(prompt({}, json.dumps(listed))) == CALLS
    assert read_tests(prompt({"test_cases": PRINTED})) == PRINTS
    assert read_tests(prompt({"tests": ["assert f(1)"], "inputs": ["1"], "outputs": ["2"]})) == PrintTests(["1"], ["2"])


class Steals:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch stolen",)


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ("some words", "neither JSON nor base64 of compressed JSON"),
        ("====", "neither JSON nor base64"),
        (base64.b64encode(b"no zlib").decode(), "neither JSON nor base64"),
        (hidden(PRINTED)[:60], "neither JSON nor base64|cut short"),
        (packed(b"words"), "is no JSON"),
        (packed(b"\xff\xfe"), "decode byte"),
        (packed(pickle.dumps(Steals())), "a pickle that is more than a text"),
        (packed(pickle.dumps([json.dumps(PRINTED)])), "a pickle that is more than a text"),
        (packed(pickle.dumps("[]")[:-4]), "remain"),
        (packed(b"\x80\x04" + b"\xff" * 9), "opcode"),
        (packed(b"\x80\x04."), "a pickle that is not one text"),
        ("7", "not all of its entries have an input and an output"),
        ('{"a": 1}', "a mapping without lists of inputs and outputs"),
        ('{"input": ["1"], "output": []}', "not one output for each input"),
        ('[{"input": "1"}]', "not all of its entries"),
        ("[" * 20_000, "neither JSON nor base64"),
        ([1], "not all of its entries"),
    ],
)
def test_what_holds_no_tests_is_named(column: Any, says: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^column 'private_test_cases': .*({says}).*; store the tests as JSON"):
        read_tests(prompt({"public_test_cases": PRINTED, "private_test_cases": column}))
    assert not os.listdir(tmp_path)
    with pytest.raises(ValueError, match="has no tests"):  # a column of such a name may hold something else
        read_tests(prompt({"tests": column}))


def test_a_bomb_is_refused_before_it_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "LARGEST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="more than 256 MiB"):
        read_tests(prompt({"private_test_cases": packed(b"[" * (1 << 24))}))


def test_tests_of_two_ways_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^tests that call add, print: give those of one way"):
        read_tests(prompt({"public_test_cases": PRINTED, "private_test_cases": CALLED, "metadata": METADATA}))
    with pytest.raises(ValueError, match="neither fn_name, metadata nor starter_code names it"):
        read_tests(prompt({"public_test_cases": CALLED, "starter_code": "def f(): ...\ndef g(): ..."}))
    with pytest.raises(ValueError, match="has no tests"):
        read_tests(prompt({"public_test_cases": "[]", "private_test_cases": ""}))


def test_programs_are_run_on_them() -> None:
    hard = [{"input": "[5]\n1", "output": "[6]", "testtype": "functional"}]
    fields = {"public_test_cases": json.dumps(CALLED[:1]), "private_test_cases": hidden(hard), "metadata": METADATA}
    for body, score in (("[x + b for x in a]", 1.0), ("[4, 5]", 0.0)):
        text = f"```python\nclass Solution:\n    def add(self, a: List[int], b: int):\n        return {body}\n```"
        case = Case(text, None, fields={**fields, "public_test_cases": [{**CALLED[0], "output": "[4, 5]"}]})
        rollout = case.rollout()
        assert code.verify(rollout.prompt, rollout).score == score
