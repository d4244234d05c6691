"""Python programs in a sandbox: by unit tests (HumanEval's and MBPP's fields), or by what they print for given input."""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import indent
from typing import cast

from rewards.contract import Case
from rewards.sandbox import sandbox
from rewards.sandbox.bubblewrap import Limits
from rewards.sandbox.sandbox import Outcome
from rl.types import Prompt, Rollout, Verdict

_CODE_BLOCK = re.compile(r"^```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)
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
    """Score 1.0 where the last block of code in the response (or else all of it) passes all its tests, otherwise 0.0, or
    with `partial` the share that it passes.

    `prompt.fields` gives the tests: `test` (a module of them, whose `check` gets the function `entry_point`; `prompt` is
    the beginning of that function), or `test_list` (assertions, with `test_imports`), or `inputs` and `outputs`. A program
    that works for more than `cpu_s` seconds of CPU time, waits for `wall_s`, or exceeds `memory_mb` or `output_kb` fails,
    however busy the machine: time for which it got no core does not count. With `cpu_s` as long as the reward's
    `deadline_s` (CPU seconds too) a program that loops would be an error instead. Raises ValueError without tests or
    without bubblewrap.
    """
    limits = Limits(wall_s, cpu_s, memory_mb, output_kb=output_kb)
    fields = prompt.fields
    code = extract_code(rollout)
    if "inputs" in fields:
        pass_count, failures = _run_on_inputs(code, fields, limits)
    else:
        pass_count, failures = _run_tests(_build_task(prompt, code), limits)
    total = pass_count + len(failures)
    score = pass_count / total if partial else float(not failures)
    return Verdict(score, {"passed": pass_count / total}, reason=failures[0] if failures else "")


def extract_code(rollout: Rollout) -> str:
    """Return the last fenced block of Python, or the whole response with its indentation where it has none."""
    blocks = _CODE_BLOCK.findall(rollout.response)
    if blocks:
        return blocks[-1]
    # `response` is stripped: a completion that is the body of a function alone would lose its first line's indentation.
    start = rollout.text.rfind(rollout.response)
    indentation = rollout.text[rollout.text.rfind("\n", 0, start) + 1 : start]
    return f"{indentation if indentation.isspace() else ''}{rollout.response}"


def _build_task(prompt: Prompt, code: str) -> dict[str, object]:
    """Return the program and its tests as the sandbox takes them. Raises ValueError for a prompt without tests."""
    fields = prompt.fields
    module, tests = str(fields.get("test") or ""), _texts(fields.get("test_list"))
    if not module and not tests:
        raise ValueError(f"prompt '{prompt.id}' has no tests: neither test, test_list nor inputs among its fields")
    entry_point, preamble = fields.get("entry_point"), str(fields.get("prompt") or "")
    if preamble and not (entry_point and _defines(code, str(entry_point))):
        program = preamble + (code if code[:1].isspace() else indent(code, "    "))  # code is the function's body alone
    else:
        program = f"{preamble}\n\n{code}"  # code defines the function anew; the preamble's imports are still needed
    imports = [*_texts(fields.get("test_imports")), str(fields.get("test_setup_code") or "")]
    return {
        "program": program,
        "preamble": preamble,
        "imports": imports,
        "tests": tests,
        "module": module,
        "entry_point": entry_point,
        "shadowed_builtins": _shadowed_builtins(tests),
    }


def _shadowed_builtins(tests: list[str]) -> list[str]:
    """Return the builtins that the assertions call as the candidate's functions, as `assert sum(1, 2) == 3` does: a test
    must call the candidate, so where it calls nothing but builtins these are meant."""
    functions = [node.func for node in ast.walk(ast.parse("\n".join(tests))) if isinstance(node, ast.Call)]
    names = {function.id for function in functions if isinstance(function, ast.Name)}
    return sorted(names) if all(hasattr(builtins, name) for name in names) else []


def _texts(value: object) -> list[str]:
    """Return a column's list of texts: parquet gives arrays, some data sets JSON, some a single text."""
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else [value]
    return [] if value is None else [str(text) for text in cast(Sequence[object], value)]


def _defines(code: str, name: str) -> bool:
    """Return whether the code binds the name at its top level, as a function, a class or by an assignment."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ast raises the last two for deeply nested code
        return False
    return any(getattr(node, "name", None) == name or name in _targets(node) for node in tree.body)


def _targets(node: ast.stmt) -> list[str]:
    return [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []


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


def _run_on_inputs(code: str, fields: Mapping[str, object], limits: Limits) -> tuple[int, list[str]]:
    """Run the program on each input in a process of its own, all together within the time of one, and return (number of
    right outputs, why each of the others is wrong)."""
    inputs, outputs = _texts(fields["inputs"]), _texts(fields.get("outputs"))
    if len(inputs) != len(outputs) or not inputs:
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs: one of each for each test")
    pass_count, rest, failures = 0, limits, list[str]()
    for text, right_output in zip(inputs, outputs, strict=True):
        if rest.cpu_s <= 0 or rest.wall_s <= 0:
            failures.append("the inputs before it took all the time")
            continue
        outcome = sandbox.execute(code, text.encode(), rest)
        rest = replace(rest, cpu_s=rest.cpu_s - outcome.cpu_s, wall_s=rest.wall_s - outcome.idle_s)
        failure = _describe_failure(outcome, right_output)
        if failure:
            failures.append(failure)
        else:
            pass_count += 1
    return pass_count, failures


def _describe_failure(outcome: Outcome, right_output: str) -> str:
    """Return why a program failed on an input, or "" where it printed the right output."""
    if outcome.stop_reason:
        return outcome.stop_reason
    if outcome.status:
        return f"it ended with status {outcome.status}"
    output = outcome.output.decode(errors="replace")
    if _strip_lines(output) == _strip_lines(right_output):
        return ""
    return f"printed '{output[:100]}', not '{right_output[:100]}'"


def _strip_lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]  # contests ignore space at the ends of lines


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
