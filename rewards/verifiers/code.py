"""Python programs in a sandbox: by unit tests (HumanEval's and MBPP's fields), or by what they print for given input."""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import indent
from typing import Any, cast

from rewards.contract import Case
from rewards.sandbox import sandbox
from rewards.sandbox.sandbox import Limits, Outcome
from rl.types import Prompt, Rollout, Verdict

_FENCED = re.compile(r"^```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)
require = sandbox.require


def verify(
    prompt: Prompt,
    rollout: Rollout,
    *,
    partial: bool = False,
    wall_s: float = 8.0,
    cpu_s: int = 8,
    memory_mb: int = 512,
    output_kb: int = 1024,
) -> Verdict:
    """1.0 where the last block of code in the response (or else all of it) passes all its tests, otherwise 0.0, or with
    `partial` the share that it passes. `prompt.fields` gives the tests: `test` (a module of them; its `check` is handed
    `entry_point`, which `prompt` begins), or `test_list` (assertions, with `test_imports`), or `inputs` and `outputs`.
    A program that works for more than `cpu_s` seconds of CPU time, waits for `wall_s`, or takes or prints more than the
    limits fails, however busy the machine: time without a free core does not count. With `cpu_s` as long as the
    reward's `deadline_s` (CPU seconds too) it would be an error instead.
    Raises ValueError without tests or without bubblewrap."""
    limits = Limits(wall_s, cpu_s, memory_mb, output_kb=output_kb)
    fields = prompt.fields
    code = extracted(rollout)
    if "inputs" in fields:
        passed, failures = _by_output(code, fields, limits)
    else:
        passed, failures = _by_tests(_task(prompt, code), limits)
    total = passed + len(failures)
    score = passed / total if partial else float(not failures)
    return Verdict(score, {"passed": passed / total}, reason=failures[0] if failures else "")


def extracted(rollout: Rollout) -> str:
    """The last fenced block of Python; the whole response, with its indentation, where it has none."""
    response, text = rollout.response, rollout.text
    blocks = _FENCED.findall(response)
    start = text.rfind(response)
    indentation = text[text.rfind("\n", 0, start) + 1 : start]
    return blocks[-1] if blocks else f"{indentation if indentation.isspace() else ''}{response}"


def _task(prompt: Prompt, code: str) -> dict[str, Any]:
    fields = prompt.fields
    module, tests = str(fields.get("test") or ""), _texts(fields.get("test_list"))
    if not module and not tests:
        raise ValueError(f"prompt '{prompt.id}' has no tests: neither test, test_list nor inputs among its fields")
    entry_point, begun = fields.get("entry_point"), str(fields.get("prompt") or "")
    if begun and not (entry_point and _defines(code, entry_point)):
        program = begun + (code if code[:1].isspace() else indent(code, "    "))  # the body alone
    else:
        program = f"{begun}\n\n{code}"
    imports = [*_texts(fields.get("test_imports")), str(fields.get("test_setup_code") or "")]
    return {
        "program": program,
        "preamble": begun,
        "imports": imports,
        "tests": tests,
        "module": module,
        "entry_point": entry_point,
        "lent": _lent(tests),
    }


def _lent(tests: list[str]) -> list[str]:
    """Names of Python's that assertions mean the candidate's by, since they call nothing else: `assert sum(1, 2) == 3`"""
    calls = [node.func for node in ast.walk(ast.parse("\n".join(tests))) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    return sorted(called) if all(hasattr(builtins, name) for name in called) else []


def _texts(value: Any) -> list[str]:
    """A list of texts; parquet gives arrays, some data sets JSON."""
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else [value]
    return [] if value is None else [str(text) for text in cast(Sequence[Any], value)]


def _defines(code: str, name: str) -> bool:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(getattr(node, "name", None) == name or name in _targets(node) for node in tree.body)


def _targets(node: ast.stmt) -> list[str]:
    return [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []


def _by_tests(task: dict[str, Any], limits: Limits) -> tuple[int, list[str]]:
    outcome = sandbox.examine(task, limits)
    if outcome.stopped or outcome.status or not outcome.output:
        return 0, [outcome.stopped or "the tests did not come to an end"]
    result = json.loads(outcome.output)
    if "error" in result:
        raise ValueError(result["error"])
    outcomes: list[str | None] = result["outcomes"]
    failures = [text for text in outcomes if text is not None]
    return len(outcomes) - len(failures), failures


def _by_output(code: str, fields: Mapping[str, Any], limits: Limits) -> tuple[int, list[str]]:
    """Every input in a process of its own; all of them together have the time of one."""
    inputs, outputs = _texts(fields["inputs"]), _texts(fields.get("outputs"))
    if len(inputs) != len(outputs) or not inputs:
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs: one of each for each test")
    passed, left, failures = 0, limits, list[str]()
    for given, expected in zip(inputs, outputs, strict=True):
        if left.cpu_s <= 0 or left.wall_s <= 0:
            failures.append("the inputs before it took all the time")
            continue
        outcome = sandbox.execute(code, given.encode(), left)
        left = replace(left, cpu_s=left.cpu_s - outcome.cpu_s, wall_s=left.wall_s - outcome.waited_s)
        fault = _fault(outcome, expected)
        passed += not fault
        failures += [fault] if fault else []
    return passed, failures


def _fault(outcome: Outcome, expected: str) -> str:
    if outcome.stopped:
        return outcome.stopped
    if outcome.status:
        return f"it ended with status {outcome.status}"
    printed = outcome.output.decode(errors="replace")
    same = [line.rstrip() for line in printed.strip().splitlines()] == [
        line.rstrip() for line in expected.strip().splitlines()
    ]
    return "" if same else f"printed '{printed[:100]}', not '{expected[:100]}'"


_ADD = {"test_list": ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]}
_SUM = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}
_HALF = {
    "prompt": 'def half(x: float) -> float:\n    """Half of x."""\n',
    "entry_point": "half",
    "test": "def check(candidate):\n    assert candidate(3) == 1.5\n    assert candidate(0) == 0",
}
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
]
