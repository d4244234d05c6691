"""Programs that are called: APPS, TACO, PRIME."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_code import judge
from test_objects import LIAR


def calls(function: str, inputs: object, outputs: object) -> dict[str, Any]:
    return {"fn_name": function, "inputs": inputs, "outputs": outputs}


ADD = "def add(a, b): return a + b"
METHOD = "class Solution:\n    def add(self, a: List[int], b: Optional[int]) -> int: return a + b"
RIGHT = [
    (ADD, calls("add", [[1, 2]], [3])),
    (ADD, calls("add", [[1, 2], [3, 4]], [[3], [7]])),  # APPS wraps
    (ADD, calls("add", [[[1], [2]]], [[1, 2]])),
    (ADD, calls("add", [[[1], [2]]], [[[1, 2]]])),
    (ADD, calls("add", ["1\n2"], ["3"])),  # PRIME's texts
    (ADD, {"input_output": json.dumps(calls("add", [[1, 2]], [[3]]))}),
    (METHOD, calls("add", [[1, 2]], [3])),
    ("class Other:\n    def add(self): pass\n" + METHOD, calls("add", [[1, 2]], [3])),
    (ADD + "\nclass Solution:\n    def add(self): pass", calls("add", [[1, 2]], [3])),
    (ADD + "\nif __name__ == '__main__':\n    print(add(*map(int, input().split())))\nexit()", calls("add", [[1, 2]], [3])),
    ("add = lambda a, b: a + b", calls("add", [[1, 2]], [3])),
    ("def f(): return (1, [2, (3,)])", calls("f", [[]], [[1, [2, [3]]]])),
    ("def f(x): return {1: x, None: True}", calls("f", [[2]], [{"1": 2, "null": True}])),
    ("def f(d): return d[1]", calls("f", [[{"1": 5}]], [5])),
    ("def f(d): return d['--1']", calls("f", [[{"--1": 5}]], [5])),
    ("def f(d): return d[-1]", calls("f", [[{"-1": 5}]], [5])),
    ("def f(x): return x / 3", calls("f", [[1]], [0.333333333])),
    ("def f(x): return [x * 1.0]", calls("f", [[1]], [[1]])),
    ("def f(x): return x", calls("f", ["abc"], ["abc"])),
    ("def f(x): return x", calls("f", [[None], ["ß"], [True]], [None, "ß", True])),
    ("def f(x): return Counter(x)['a'], gcd(4, 6) if 'gcd' in globals() else math.gcd(4, 6)", calls("f", [["aa"]], [[2, 2]])),
    ("def sum(a, b): return a * b", calls("sum", [[3, 4]], [12])),
    ("class Solution:\n    def __init__(self): self.n = 0\n    def f(self):\n        self.n += 1\n        return self.n",
     calls("f", [[], []], [1, 1])),
]  # fmt: skip
WRONG = [
    (ADD, calls("add", [[1, 2]], [4])),
    (ADD, calls("add", [[1, 2], [3, 4]], [3, [7]])),
    ("def add(a, b): return [a + b] if a == 1 else a + b", calls("add", [[1, 2], [3, 4]], [[3], [7]])),
    ("def f(x): return x[0]", calls("f", [[[1, 2]]], [[1, 2]])),
    ("def f(x): return 10000001", calls("f", [[1]], [10000000])),
    ("def f(x): return 10000009.0", calls("f", [[1]], [10000000])),
    ("def f(x): return 'a'", calls("f", [[1]], [["a", "a"]])),
    ("def f(x): return True", calls("f", [[1]], ["True"])),
    ("def f(x): return '3'", calls("f", [[1]], [3])),
    ("def f(x): yield 1", calls("f", [[1]], [[1]])),
    ("def f(x): return {1}", calls("f", [[1]], [[1]])),
    ("def f(x): return {1: 2, 2: 3}", calls("f", [[1]], [{"1": 2}])),
    ("def g(x): return 1", calls("f", [[1]], [1])),
    ("def f(x): exit()", calls("f", [[1]], [1])),
    ("import os\nos._exit(0)", calls("f", [[1]], [1])),
    ("def f(x):\n    import os; os._exit(0)", calls("f", [[1]], [1])),
    ("def f(x): raise ValueError", calls("f", [[1]], [1])),
    ("print(1)", calls("f", [[1]], [1])),
    (LIAR + "def f(x): return Liar()", calls("f", [[1]], [3])),
    (LIAR + "def f(x): return [Liar()]", calls("f", [[1]], [[3]])),
    (LIAR + "def f(x): return {Liar()}", calls("f", [[1]], [[3]])),
    (LIAR + "def f(x): return {Liar(): Liar()}", calls("f", [[1]], [{"3": 3}])),
    (LIAR + "class Solution(Liar):\n    def f(self, x): return self", calls("f", [[1]], [3])),
    ("class S(str):\n    def __eq__(s, o): return True\n    __hash__ = str.__hash__\ndef f(x): return S('z')", calls("f", [[1]], ["a"])),
    ("class S(float):\n    def __sub__(s, o): return 0.0\n    __rsub__ = __sub__\ndef f(x): return S(3)", calls("f", [[1]], [4.5])),
    ("def f(x): return float('nan')", calls("f", [[1]], [4.5])),
    ("def f(x): return float('inf')", calls("f", [[1]], [4.5])),
    ("def f(x): return 10 ** 400", calls("f", [[1]], [4.5])),
    ("import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.isinstance = lambda *a: True\ndef f(x): return 3", calls("f", [[1]], [4.5])),
]  # fmt: skip


@pytest.mark.parametrize(("program", "fields"), RIGHT)
def test_right(program: str, fields: dict[str, Any]):
    verdict = judge(program, fields)
    assert (verdict.score, verdict.reason) == (1.0, "")


@pytest.mark.parametrize(("program", "fields"), WRONG)
def test_wrong(program: str, fields: dict[str, Any]):
    verdict = judge(program, fields)
    assert verdict.score == 0.0
    assert verdict.reason
    assert verdict.error is None


def test_the_share_of_calls():
    program = "def f(x):\n    if x == 2: raise KeyError(x)\n    return x"
    fields = calls("f", [[1], [2], [3], [4]], [1, 2, 3, 5])
    assert judge(program, fields, partial=True).score == 0.5
    assert judge(program, fields).reason == "KeyError: '2'"


def test_tolerance():
    fields = calls("f", [[1]], [0.5])
    assert judge("def f(x): return 0.51", fields).score == 0.0
    assert judge("def f(x): return 0.51", fields, tolerance=0.1).score == 1.0
    assert judge("print(0.51)", {"inputs": [""], "outputs": ["0.5"]}, tolerance=0.1).score == 1.0
    with pytest.raises(ValueError, match="must not be negative"):
        judge("def f(x): return 0.5", fields, tolerance=-1.0)
