"""Runs the tests, in a process of their own, with a proxy for every name that only the candidate's program defines."""

from __future__ import annotations

import builtins
import json
import os
import sys
from types import CodeType

from rewards.sandbox.inside.calls import describe_failures, number_keys
from rewards.sandbox.inside.remote import CLASS_UNDER_TEST, HOLDER, Link
from rewards.sandbox.inside.wire import Unsendable

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any  # any value of the candidate's or the tests'


ENDED = "the candidate's process ended"
"""Reason of a failed test whose candidate does not answer any more."""


class BrokenTests(Exception):
    """Error for tests that cannot be run whatever the candidate is, so that it is not to blame."""


def main(channel: int) -> None:
    """Read the task from descriptor 0 (JSON, see `examine`), ask the candidate on descriptor `channel` and write
    `{"outcomes": [null or why it failed, …]}` or `{"error": …}` to descriptor 1."""
    output = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # a test may print
    task = json.loads(sys.stdin.read())
    try:
        result = {"outcomes": examine(task, Link(channel))}
    except Unsendable as error:
        result = {"error": f"a test hands the candidate what cannot leave its process: {error}"}
    except BrokenTests as error:
        result = {"error": f"the tests cannot be run: {error}"}
    os.write(output, json.dumps(result).encode())


class Names(dict[str, "Any"]):
    """Globals of the tests. A name that neither they nor Python define is the candidate's: it cannot take the place of
    `set`, `abs` or an import of theirs, unless the tests call nothing else (`assert sum(10, 15) == 6`)."""

    link: Link | None = None
    """The connection to the candidate; None until its program has run."""
    shadowed_builtins: frozenset[str] = frozenset()
    """Names of builtins that mean the candidate's functions here."""
    classes: frozenset[str] = frozenset()
    """Names of the candidate's classes that are themselves under test."""

    def __missing__(self, name: str) -> Any:  # called by exec's lookup of a global before it looks among the builtins
        is_builtin = hasattr(builtins, name) and name not in self.shadowed_builtins
        if self.link is None or is_builtin or name.startswith("__"):
            raise KeyError(name)
        steps = CLASS_UNDER_TEST if name in self.classes else 0
        return self.link.ask(HOLDER if name == "Solution" else steps, "name", name)


def examine(task: dict[str, Any], link: Link) -> list[str | None]:
    """Run all tests of a task; return for each None if it passed, or why it failed, in one line.

    A task has `program` (its parts), `preamble` and `imports` (code that the tests share), `classes` and
    `shadowed_builtins` (see `Names`), and `tests` (assertions), `module` with its `entry_point`, or `calls`: an
    expression for the `function`, `arguments`, `results` and `tolerance`. Raises BrokenTests or Unsendable.
    """
    names = Names(__name__="tests", __builtins__=builtins)
    names.shadowed_builtins, names.classes = frozenset(task["shadowed_builtins"]), frozenset(task["classes"])
    module = _compile_module(task["module"]) if task["module"] else None
    setup = _run_preamble([task["preamble"], *task["imports"]], names)
    function = task["entry_point"].partition("(")[0].partition(".")[0]  # `Solution().add` is looked up as `Solution`
    if function:  # the preamble may define a stub of it, which must not hide the candidate's function
        names.pop(function, None)
        names.shadowed_builtins |= {function}
    link.records = {name: v for name, v in names.items() if isinstance(v, type) and v.__module__ == "tests"}
    load_failure = _run_test(lambda: link.load(task["program"]))
    if load_failure is not None:
        return [load_failure]
    names.link = link
    for text in setup:
        if failure := _run_test(lambda text=text: exec(text, names)):
            return [failure]
    if task["calls"]:
        return _run_calls(names=names, **task["calls"])
    outcomes: list[str | None] = []
    for code in task["tests"]:
        link.has_answered = False  # assertions are independent: each starts without an answer of the candidate's
        # `code=code`: a lambda looks its names up when it is called
        outcomes.append(_run_test(lambda code=code: exec(compile(code, "test.py", "exec"), names)))
    if module:
        outcomes += _run_module(module, task["entry_point"], names)
    return outcomes


def _compile_module(text: str) -> CodeType:
    try:
        return compile(text, "tests.py", "exec")
    except Exception as error:
        raise BrokenTests(_describe(error)) from None


def _run_preamble(texts: list[str], names: Names) -> list[CodeType]:
    """Run code that the tests share and return the parts of it that need the candidate's program: those that miss a name.
    Raises BrokenTests where one fails otherwise."""
    setup: list[CodeType] = []
    for text in texts:
        try:
            code = compile(text, "preamble.py", "exec")
            setup.append(code)
            exec(code, names)
            setup.pop()
        except NameError:
            continue
        except Exception as error:
            raise BrokenTests(f"{type(error).__name__}: {error}") from None
    return setup


def _run_calls(
    names: Names, function: str, arguments: list[list[Any]], results: list[Any], tolerance: float
) -> list[str | None]:
    """Call the candidate's function and compare what it returns."""
    values: list[Any] = []
    errors: list[str | None] = []
    for call in arguments:
        values.append(None)

        def test(call: list[Any] = call) -> None:
            values[-1] = eval(function, names)(
                *map(number_keys, call)
            )  # anew each time: an instance of a class may keep a state

        errors.append(_run_test(test))
    failures = describe_failures(values, results, tolerance)
    return [error or failure for error, failure in zip(errors, failures, strict=True)]


def _run_module(code: CodeType, entry_point: str, names: Names) -> list[str | None]:
    """Run a module of tests: `check(candidate)`, functions `test_…`, unittest's cases, or bare assertions."""
    names_before = set(names)
    failure = _run_test(lambda: exec(code, names))
    if failure is not None:
        return [failure]
    outcomes: list[str | None] = []
    for name in [name for name in names if name not in names_before]:  # a list: a test may define more names
        value = names[name]
        if name == "check":
            if not entry_point:
                raise BrokenTests("no column names the function that `check` gets; add the column entry_point")
            outcomes.append(_run_test(lambda value=value: value(eval(entry_point, names))))
        elif name.startswith("test_") and callable(value):
            outcomes.append(_run_test(value))
        elif isinstance(value, type) and hasattr(value, "assertEqual") and value.__module__ == "tests":
            outcomes += _run_cases(value)
    return outcomes or [None]  # bare assertions: the module itself was the test


def _run_cases(case: Any) -> list[str | None]:
    import unittest  # slow to import, and few tasks need it

    outcomes: list[str | None] = []
    for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
        result = unittest.TestResult()
        test.run(result)
        failures = result.failures + result.errors
        # the last line of a traceback is the exception
        outcomes.append(failures[0][1].strip().splitlines()[-1][:200] if failures else None)
    return outcomes


def _run_test(test: Callable[[], object]) -> str | None:
    """Return None if the test passed, or why it failed, in one line. Raises Unsendable or BrokenTests for a fault of
    the test itself."""
    try:
        test()
    except Unsendable:
        raise
    except EOFError:
        return ENDED
    except BaseException as error:  # a test fails by raising
        if isinstance(error, ImportError) and not _is_of_candidate(error):
            raise BrokenTests(_describe(error)) from None
        return _describe(error)
    return None


def _is_of_candidate(error: BaseException) -> bool:
    """Return whether the candidate raised an exception: the link raises it again in this process."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is Link.receive_value.__code__


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:200]
    except BaseException:  # an assertion's message may be an object of the candidate's
        return type(error).__name__
