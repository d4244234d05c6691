"""What a test takes from a candidate: values of Python's own types, and objects only where the tests name their class."""

from __future__ import annotations

import pytest
from test_code import judge

LIAR = """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return True
    def __contains__(self, item): return True
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __len__(self): return 3
    def __iter__(self): return iter([3])
    def __getitem__(self, index): return 3
    def __getattr__(self, name): return lambda *args: True
    def __str__(self): return "3"
    __repr__ = __str__
    def __hash__(self): return hash(3)
    def __sub__(self, other): return 0
    def __bool__(self): return True
"""
SUBCLASSES = """
class S(str):
    def __eq__(self, other): return True
    def __contains__(self, item): return True
    def __lt__(self, other): return True
    def __len__(self): return 3
    def startswith(self, text): return True
    __hash__ = str.__hash__
class I(int):
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    def __index__(self): return 3
    def __sub__(self, other): return 0
    __hash__ = int.__hash__
class L(list):
    def __eq__(self, other): return True
    def __contains__(self, item): return True
    def __iter__(self): return iter([3])
    def __len__(self): return 3
class D(dict):
    def __eq__(self, other): return True
    def __missing__(self, key): return 3
    def __contains__(self, key): return True
class B(tuple):
    def __eq__(self, other): return True
    def index(self, item): return 3
"""
ASSERTIONS = [
    "f() == 3", "3 == f()", "f() in [3]", "f() in {3}", "f() == f()", "3 in f()", "all(x in f() for x in (1, 2))", "f() < 2",
    "2 > f()", "f() >= 9", "len(f()) == 3", "f()[0] == 3", "list(f()) == [3]", "sorted(f()) == [3]", "str(f()) == '3'",
    "repr(f()) == '3'", "f'{f()}' == '3'", "f().startswith('a')", "f().isdigit()", "f().count(1) == 1", "abs(f() - 3) < 1",
    "[f()] == [3]", "(1, f()) == (1, 3)", "{'a': f()} == {'a': 3}", "max(f(), 3) == 3", "f() != 4", "set(f()) == {3}",
    "isinstance(f(), int)", "dict(f()) == {}", "f().keys() == {3}", "sum(f()) == 3",
]  # fmt: skip


def assess(program: str, *assertions: str, **fields: object) -> list[str]:
    """Return the assertions that a program passes."""
    verdicts = [judge(program, {"test_list": [f"assert {text}"], **fields}) for text in assertions]
    assert all(verdict.score or verdict.reason for verdict in verdicts)
    return [text for text, verdict in zip(assertions, verdicts, strict=True) if verdict.score]


def judge_all(program: str, assertions: list[str]) -> float:
    """Return the share of assertions that a program passes, all judged in one sandbox."""
    return judge(program, {"test_list": [f"assert {text}" for text in assertions]}, partial=True).score


@pytest.mark.parametrize(
    "program",
    [
        LIAR + "def f(): return Liar()",
        LIAR.replace("class Liar", "class f"),
        LIAR + "class Meta(type):\n    __call__ = lambda *_: Liar()\nclass f(metaclass=Meta): pass",
        LIAR + "f = Liar",
        LIAR + "import sys\nclass M: f = Liar\nsys.modules['candidate'] = M()\ndef f(): return Liar()",
    ],
)
def test_an_object_of_the_candidates_decides_no_test(program: str):
    assert judge_all(program, ASSERTIONS) == 0.0
    assert judge(program, {"test_list": ["assert 3 in f()"]}).reason.startswith(
        "Refused: returned an object of a class"
    )


@pytest.mark.parametrize("program", [LIAR + "def f(): return [Liar()]", LIAR + "def f(): return {'a': Liar()}"])
def test_nor_does_one_in_a_list(program: str):
    tests = ["f() == [3]", "f() == {'a': 3}", "f()[0] == 3", "3 in f()", "f()['a'] == 3", "3 in f()['a']", "[3] == f()"]
    assert judge_all(program, tests) == 0.0


@pytest.mark.parametrize("value", ["S('z')", "I(7)", "L([7])", "D(a=7)", "B((7,))"])
def test_a_subclass_is_the_value_that_it_holds(value: str):
    plain = (
        f"def f(): return {value[1:]}"
        if value[0] in "SIL"
        else f"def f(): return {'dict' if value[0] == 'D' else ''}{value[1:]}"
    )
    for text in ("f() == 3", "f() == 'a'", "3 in f()", "f() < 2", "len(f()) == 3", "f().startswith('a')", "[3] == f()"):
        fields = {"test_list": [f"assert {text}"]}
        assert judge(f"{SUBCLASSES}def f(): return {value}", fields).score == judge(plain, fields).score == 0.0
    assert assess(f"{SUBCLASSES}def f(): return {value}", f"f() == {plain.partition('return ')[2]}")


def test_a_class_that_only_holds_functions():
    program = LIAR + "class Solution(Liar):\n    def f(self): return Liar()\n    def g(self): return self\n"
    tests = ["3 in Solution().f()", "3 in Solution().g()", "Solution().f() == 3", "Solution().g().startswith('a')"]
    assert judge_all(program, tests) == 0.0
    honest = "class Solution:\n    def count(self, x): return [x]"
    assert (
        judge(honest, {"test_list": ["s = Solution()\nassert s.count(3) == [3]\nassert 3 in s.count(3)"]}).score == 1.0
    )


HONEST = [
    ("def f(n):\n    def g(x): return x + n\n    return g", "f(2)(3) == 5"),
    ("from dataclasses import dataclass\n@dataclass\nclass R:\n    total: int\ndef f(x): return R(x)", "f(3).total == 3"),
    ("from fractions import Fraction\ndef f(): return Fraction(1, 2)", "f() == 0.5 and f().denominator == 2"),
    ("from decimal import Decimal\ndef f(): return Decimal('1.5')", "f() == 1.5"),
    ("import datetime as d\ndef f(): return [d.date(2020, 1, 2), d.timedelta(1), d.time(3)]", "f()[0].year == 2020"),
    ("from collections import *\ndef f(): return Counter('aab')", "f() == {'a': 2, 'b': 1} and f().most_common(1) == [('a', 2)]"),
    ("from collections import *\ndef f(): return deque([1, 2]), defaultdict(int, a=1)", "list(f()[0]) == [1, 2] and f()[1] == {'a': 1}"),
    ("def f(): return {1: 2}.keys()", "1 in f() and sorted(f()) == [1]"),
    ("from enum import IntEnum\nclass C(IntEnum):\n    A = 1\ndef f(): return C.A", "f() == 1"),
    ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "f() == (1, 2)"),
    ("def f():\n    yield 1", "list(f()) == [1] and next(f()) == 1"),
    ("from __future__ import annotations\ndef f(): return 1", "f() == 1"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "assertion"), HONEST)
def test_values_of_the_standard_library_and_functions_of_functions(program: str, assertion: str):
    assert assess(program, assertion)


def test_a_class_that_the_tests_name_is_what_they_test():
    program = """
class Vector:
    def __init__(self, *items): self.items = items
    def __add__(self, other): return Vector(*map(sum, zip(self.items, other.items)))
    def __eq__(self, other): return self.items == other.items
    def __lt__(self, other): return self.items < other.items
    def __contains__(self, item): return item in self.items
    def __len__(self): return len(self.items)
    def __str__(self): return f"<{self.items}>"
    def __setitem__(self, index, item): self.items = (item,)
"""
    tests = """
v = Vector(1, 2)
assert v + Vector(3, 4) == Vector(4, 6) and v < Vector(2, 0) and 1 in v and len(v) == 2 and str(v) == "<(1, 2)>"
assert isinstance(v, Vector) and not isinstance(3, Vector) and sorted([Vector(2), Vector(1)])[0].items == (1,)
v[0] = 7
v.name = "x"
assert v.items == (7,) and v.name == "x" and v != 3
"""
    assert judge(program, {"test_list": [tests]}).score == 1.0
    assert judge(program, {"test": tests}).score == 1.0


def test_setup_may_build_objects_of_the_candidates():
    fields = {"test_list": ["assert total(root) == 3"], "test_setup_code": "root = Node(1)\nroot.left = Node(2)"}
    node = "class Node:\n    def __init__(self, value): self.value, self.left = value, None\n"
    assert judge(node + "def total(n): return n.value + total(n.left) if n else 0", fields).score == 1.0
    assert judge("def total(n): return 3", fields).reason.startswith("NameError")
    with pytest.raises(ValueError, match="the tests cannot be run: ModuleNotFoundError"):
        judge("def total(n): return 3", {**fields, "test_imports": ["import nothing_of_that_name"]})


LISTS = {
    "prompt": """
class ListNode:
    def __init__(self, val=0, next=None): self.val, self.next = val, next
def build(values): return ListNode(values[0], build(values[1:])) if values else None
def same(a, b): return a is b is None or (a and b and a.val == b.val and same(a.next, b.next))
""",
    "entry_point": "Solution().turn",
    "test": "def check(candidate):\n    for n in (0, 1, 100):\n"
    "        assert same(candidate(head=build(list(range(n)))), build(list(range(n))[::-1]))",
}
TURN = """
class Solution:
    def turn(self, head):
        last = None
        while head: head.next, last, head = last, head, head.next
        return last
"""


def test_objects_of_a_class_in_the_prompt_cross_as_data():
    assert judge(TURN, LISTS).score == 1.0
    own = "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
    assert judge(own + TURN, LISTS).score == 1.0
    assert judge(TURN.replace("return last", "return head"), LISTS).score == 0.0
    liar = LIAR + "class ListNode: pass\nclass Solution:\n    def turn(self, head):\n        n = ListNode()\n"
    assert judge(liar + "        n.val = n.next = Liar()\n        return n", LISTS).score == 0.0
    assert judge(liar + "        return Liar()", LISTS).score == 0.0


@pytest.mark.parametrize("end", ["exit()", "quit()", "exit(0)", "raise SystemExit", "import sys; sys.exit()"])
def test_a_program_may_end_itself(end: str):
    printing = {"inputs": ["1 2"], "outputs": ["3"]}
    assert judge(f"print(sum(map(int, input().split())))\n{end}\nprint(4)", printing).score == 1.0
    assert judge(f"print(4)\n{end}", printing).score == 0.0
    double = {"test_list": ["assert double(2) == 4", "assert double(3) == 6"]}
    assert judge(f"def double(x): return 2 * x\n{end}\ndef double(x): return 0", double).score == 1.0
    for cheat in (end, f"def double(x):\n    {end}", f"def double(x):\n    if x == 2: return 4\n    {end}"):
        assert judge(cheat, double).score == 0.0
    assert judge("print(3)\nexit(1)", printing).reason == "it ended with status 1"
    assert judge("def double(x): return 2 * x\nexit('bad')", double).score == 0.0


def test_a_program_sees_only_what_it_imports():
    for name in ("os", "sys", "resource", "builtins", "main"):
        assert judge(f"{name}\nprint(3)", {"inputs": [""], "outputs": ["3"]}).score == 0.0
    assert judge("if __name__ == '__main__':\n    print(3)", {"inputs": [""], "outputs": ["3"]}).score == 1.0


def test_a_value_too_long_to_hand_back_is_no_error():
    """Else a program could leave the gradient whenever it liked."""
    fields = {"test_list": ["assert unpack(pack('a')) == 'a'"]}
    assert judge("def pack(x): return '\\n' * (4 << 20) + '\\t'\ndef unpack(x): return 'a'", fields).error is None
