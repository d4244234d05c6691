"""Python programs in a sandbox: by unit tests (HumanEval, MBPP), by calls (APPS, TACO, PRIME), or by what they print."""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from textwrap import indent

from rewards.contract import Case
from rewards.programs.blocks import parse
from rewards.programs.columns import Assertions, CallTests, PrintTests, read_tests
from rewards.programs.printed import same_output
from rewards.programs.solution import find_solution, read_names
from rewards.sandbox import sandbox
from rewards.sandbox.bubblewrap import Limits
from rewards.sandbox.sandbox import Outcome
from rl.types import Prompt, Rollout, Verdict

# Imports that LeetCode and the judges of APPS put before a solution, and on which answers rely.
_PRELUDE = """import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from typing import *
"""
require = sandbox.require


def verify(
    prompt: Prompt,
    rollout: Rollout,
    *,
    partial: bool = False,
    tolerance: float = 1e-6,
    wall_s: float = 8.0,
    cpu_s: int = 8,
    memory_mb: int = 512,
    output_kb: int = 1024,
) -> Verdict:
    """Score 1.0 where the program of the response passes all its tests, otherwise 0.0, or with `partial` the share that it
    passes.

    The program is the last block of Python that is one (`rewards.programs.solution`), or a response without blocks.
    `prompt.fields` gives the tests: `test` (a module of them, whose `check` gets `entry_point`; `prompt` is the beginning
    of that function), or `test_list` (assertions, with `test_imports`), or `inputs` and `outputs`, printed or, with
    `fn_name`, called (`rewards.programs.columns`). Where a printed number or a call's result is a decimal fraction, or
    should be, it may differ by `tolerance`, relative or absolute; integers are exact, and 1.0 is 1.

    A program that works for more than `cpu_s` seconds of CPU time, waits for `wall_s`, or exceeds `memory_mb` or
    `output_kb` fails, however busy the machine: time for which it got no core does not count. Keep `cpu_s` below the
    reward's `deadline_s` (CPU seconds too), or the reason will name that one. Raises ValueError without tests or without
    bubblewrap.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance}; it must not be negative")
    limits = Limits(wall_s, cpu_s, memory_mb, output_kb=output_kb)
    tests = read_tests(prompt)
    code = extract_code(rollout, tests)
    if code is None:
        return Verdict(0.0, {"passed": 0.0}, reason="the response has no program in Python")
    if isinstance(tests, PrintTests):
        pass_count, failures = _run_on_inputs(code, tests, limits, tolerance)
    else:
        task = _build_calls(tests, code, tolerance) if isinstance(tests, CallTests) else _build_task(tests, code)
        pass_count, failures = _run_tests(task, limits)
    total = pass_count + len(failures)
    score = pass_count / total if partial else float(not failures)
    return Verdict(score, {"passed": pass_count / total}, reason=failures[0] if failures else "")


def extract_code(rollout: Rollout, tests: PrintTests | CallTests | Assertions) -> str | None:
    """Return the program of the response, with its indentation where it is in no block; None where it shows only other
    code."""
    code = find_solution(rollout.response, _wanted_names(tests), accepts_body=bool(getattr(tests, "preamble", "")))
    if code != rollout.response:
        return code
    # Not `response`, which is stripped: a completion that is only a function's body would lose its first line's
    # indentation.
    start = rollout.text.rfind(rollout.response)
    indentation = rollout.text[rollout.text.rfind("\n", 0, start) + 1 : start]
    return f"{indentation if indentation.isspace() else ''}{rollout.response}"


def _wanted_names(tests: PrintTests | CallTests | Assertions) -> Iterable[str]:
    """Return the names that a program must define to be tested."""
    if isinstance(tests, PrintTests):
        return ()
    if isinstance(tests, CallTests):
        return (tests.function,)
    if tests.entry_point:
        return (_first_name(tests.entry_point),)
    return _read_test_names(tests) | set(_shadowed_builtins(tests.test_list))


def _first_name(expression: str) -> str:
    return expression.partition("(")[0].partition(".")[0]  # `Solution().add` needs `Solution`


def _read_test_names(tests: Assertions) -> frozenset[str]:
    """Return the names that the tests read and do not define."""
    tree = parse("\n".join([*tests.imports, tests.module, *tests.test_list]))
    return frozenset() if tree is None else read_names(tree).free


def _build_task(tests: Assertions, code: str) -> dict[str, object]:
    """Return the program and its tests as the sandbox takes them."""
    preamble, entry_point = tests.preamble, tests.entry_point
    tree = parse(code)
    names = read_names(tree).bound if tree else frozenset[str]()
    if preamble and _first_name(entry_point) not in names:
        # code is the function's body alone
        program = [preamble + (code if code[:1].isspace() else indent(code, "    "))]
    else:
        program = [preamble, code]  # code defines the function anew; the preamble's imports are still needed
    return {
        "program": program,
        "preamble": preamble,
        "imports": tests.imports,
        "classes": _classes_under_test(tests, tree),
        "shadowed_builtins": _shadowed_builtins(tests.test_list),
        "tests": tests.test_list,
        "module": tests.module,
        "entry_point": entry_point,
        "calls": None,
    }


def _build_calls(tests: CallTests, code: str, tolerance: float) -> dict[str, object]:
    """Return the program and its calls as the sandbox takes them."""
    calls = {**asdict(tests), "function": tests.function, "tolerance": tolerance}
    tree = parse(code)
    if tree and tests.function not in read_names(tree).bound:
        holders = [node for node in tree.body if isinstance(node, ast.ClassDef) and tests.function in _methods(node)]
        # `Solution` before any other class that happens to have a method of that name
        holders.sort(key=lambda node: node.name != "Solution")
        if holders:
            calls["function"] = f"{holders[0].name}().{tests.function}"
    return {
        "program": [_PRELUDE, code],
        "preamble": "",
        "imports": [],
        "classes": [],
        "shadowed_builtins": [],
        "tests": [],
        "module": "",
        "entry_point": calls["function"],
        "calls": calls,
    }


def _methods(node: ast.ClassDef) -> list[str]:
    return [item.name for item in node.body if isinstance(item, ast.FunctionDef)]


def _classes_under_test(tests: Assertions, tree: ast.Module | None) -> list[str]:
    """Return the classes of the program that the tests name, and that the prompt does not call functions: a program may
    write `class add` where `def add` is asked for. Without a prompt the capital tells them apart, as PEP 8 has it."""
    if tree is None:
        return []
    preamble = parse(tests.preamble)
    functions = {node.name for node in preamble.body if isinstance(node, ast.FunctionDef)} if preamble else set[str]()
    named = _read_test_names(tests) | {tests.entry_point}
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return [name for name in classes if name in named - functions and name.lstrip("_")[:1].isupper()]


def _shadowed_builtins(tests: list[str]) -> list[str]:
    """Return the builtins that the assertions call as the candidate's functions, as `assert sum(1, 2) == 3` does: a test
    must call the candidate, so where it calls nothing but builtins these are meant."""
    functions = [node.func for node in ast.walk(ast.parse("\n".join(tests))) if isinstance(node, ast.Call)]
    names = {function.id for function in functions if isinstance(function, ast.Name)}
    return sorted(names) if all(hasattr(builtins, name) for name in names) else []


def _run_tests(task: dict[str, object], limits: Limits) -> tuple[int, list[str]]:
    """Return (number of tests passed, why each of the others failed)."""
    outcome = sandbox.examine(task, limits)
    if outcome.stop_reason or outcome.status or not outcome.output:
        return 0, [outcome.stop_reason or "the tests did not come to an end"]
    result = json.loads(outcome.output)
    if "error" in result:  # the tests themselves cannot be run: no fault of the answer
        raise ValueError(result["error"])
    outcomes: list[str | None] = result["outcomes"]
    failures = [text for text in outcomes if text is not None]
    return len(outcomes) - len(failures), failures


def _run_on_inputs(code: str, tests: PrintTests, limits: Limits, tolerance: float) -> tuple[int, list[str]]:
    """Run the program on each input in a process of its own, all together within the time of one, and return (number of
    right outputs, why each of the others is wrong)."""
    pass_count, rest, failures = 0, limits, list[str]()
    for text, right_output in zip(tests.inputs, tests.outputs, strict=True):
        if rest.cpu_s <= 0 or rest.wall_s <= 0:
            failures.append("the inputs before it took all the time")
            continue
        outcome = sandbox.execute(code, text.encode(), rest)
        rest = replace(rest, cpu_s=rest.cpu_s - outcome.cpu_s, wall_s=rest.wall_s - outcome.idle_s)
        failure = _describe_failure(outcome, right_output, tolerance)
        if failure:
            failures.append(failure)
        else:
            pass_count += 1
    return pass_count, failures


def _describe_failure(outcome: Outcome, right_output: str, tolerance: float) -> str:
    """Return why a program failed on an input, or "" where it printed the right output."""
    if outcome.stop_reason:
        return outcome.stop_reason
    if outcome.status:
        return f"it ended with status {outcome.status}"
    output = outcome.output.decode(errors="replace")
    if same_output(output, right_output, tolerance):
        return ""
    return f"printed '{output[:100]}', not '{right_output[:100]}'"


_ADD = {"test_list": ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]}
_SUM = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
_HALF = {
    "prompt": 'def half(x: float) -> float:\n    """Half of x."""\n',
    "entry_point": "half",
    "test": "def check(candidate):\n    assert candidate(3) == 1.5\n    assert candidate(0) == 0",
}
_CALLS = {"fn_name": "half", "inputs": [[3], [0]], "outputs": [[1.5], [0]]}
GOLD = [
    Case("<think>sum</think>Here:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.", None, fields=_ADD),
    Case("    return x / 2\n", None, fields=_HALF),
    Case("```python\nreturn x / 2\n```", None, fields=_HALF),
    Case("```python\ndef half(x):\n    return x / 2\n```", None, fields=_HALF),
    Case("print(sum(map(int, input().split())))", None, fields=_SUM),
    Case("def add(a, b):\n    return 5", None, equal=False, fields=_ADD),
    Case("def add(a, b):\n    return 5", None, score=(0.5, 0.5), fields=_ADD, args={"partial": True}),
    Case("print(3)", None, equal=False, fields=_SUM),
    Case("print('all tests passed')\nimport os; os._exit(0)", None, equal=False, fields=_ADD),
    Case(
        "class Any:\n    def __eq__(self, other): return True\ndef add(a, b):\n    return Any()",
        None,
        equal=False,
        fields=_ADD,
    ),
    Case("", None, equal=False, fields=_HALF),
    Case("```py\nprint(sum(map(int, input().split())))\nexit()\n```\nIt prints\n```\n3\n```", None, fields=_SUM),
    Case("- ~~~python\n  def add(a, b):\n      return a + b\n  ~~~\n```\nadd(2, 3)\n```", None, fields=_ADD),
    Case("```cpp\nint main() {}\n```", None, equal=False, fields=_SUM),
    Case("def half(x):\n    return x / 2", None, fields=_CALLS),
    Case("class Solution:\n    def half(self, x: int) -> Optional[float]:\n        return x / 2", None, fields=_CALLS),
    Case("print(1 / 3)", None, fields={"inputs": [""], "outputs": ["0.333333333"]}),
    Case("print(0.3333)", None, equal=False, fields={"inputs": [""], "outputs": ["0.333333333"]}),
]
