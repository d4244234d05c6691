"""The tests' side: runs them, with a proxy for every name that only the candidate's program defines."""

from __future__ import annotations

import builtins
import json
import os
import sys

from rewards.sandbox.inside.wire import Unsendable, decode, encode, receive, send

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any  # any value of the candidate's or the tests'

# Not raised again here: a candidate that raises them in `assert all(map(f, …))` would end the loop and pass.
_ENDS_LOOPS = ("StopIteration", "StopAsyncIteration", "GeneratorExit")


def main(channel: int) -> None:
    """Read the task from descriptor 0 (JSON: program, preamble, imports, tests, module, entry_point, shadowed_builtins),
    ask the candidate on descriptor `channel` and write `{"outcomes": [null or why it failed, …]}` or `{"error": …}` to
    descriptor 1."""
    output = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # a test may print
    task = json.loads(sys.stdin.read())
    try:
        result = {"outcomes": examine(task, Link(channel))}
    except Unsendable as error:
        result = {"error": f"a test hands the candidate what cannot leave its process: {error}"}
    os.write(output, json.dumps(result).encode())


class Link:
    """The connection to the candidate's process."""

    def __init__(self, channel: int) -> None:
        self._channel = channel

    def ask(self, *message: object) -> Any:
        """Send `[operation, operand, …]` and return the value of the answer. Raises as `receive_value` does."""
        send(self._channel, [encode(part, _encode_object) for part in message])
        return self.receive_value()

    def load(self, program: str) -> None:
        """Run the candidate's program in its process. Raises as `receive_value` does."""
        send(self._channel, program)
        self.receive_value()

    def receive_value(self) -> Any:
        """Return the value of the next answer. Raises the exception that the candidate raised, or EOFError where its
        process is gone or answers nonsense."""
        try:
            kind, value, *text = receive(self._channel)
        except (ValueError, TypeError):
            raise EOFError from None
        if kind == "value":
            return decode(value, self._decode_object)
        builtin = getattr(builtins, str(value), None)
        if isinstance(builtin, type) and issubclass(builtin, Exception) and value not in _ENDS_LOOPS:
            raise builtin(*text)  # a test may expect it: `with assertRaises(ValueError)`
        raise RuntimeError(f"{value}: {text}")

    def _decode_object(self, tag: str, index: object) -> Remote:
        if tag != "object":
            raise EOFError
        return Remote(self, index)


class Remote:
    """A proxy for an object in the candidate's process. It equals no data: an `__eq__` of the candidate's decides nothing
    but the equality of two objects of its own."""

    def __init__(self, link: Link, index: object) -> None:
        self.__dict__.update(_link=link, _index=index)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return self._link.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._link.ask("attribute", self, name)

    def __getitem__(self, key: object) -> Any:
        return self._link.ask("item", self, key)

    def __contains__(self, item: object) -> bool:
        # `is True`: an object of the candidate's that counts as true is no answer
        return self._link.ask("contains", self, item) is True

    def __len__(self) -> int:
        return self._link.ask("length", self)

    def __iter__(self) -> Iterator[object]:
        return iter(self._link.ask("iterate", self))

    def __str__(self) -> str:
        return str(self._link.ask("text", self))

    def __bool__(self) -> bool:
        return self._link.ask("truth", self) is True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and self._link.ask("equal", self, other) is True

    def __hash__(self) -> int:
        return hash(self._index)


def _encode_object(value: object) -> object:
    if isinstance(value, Remote):
        return ["object", value.__dict__["_index"]]
    raise Unsendable(f"a value of type {type(value).__name__}")


class Names(dict[str, "Any"]):
    """Globals of the tests. A name that neither they nor Python define is the candidate's: it cannot take the place of
    `set`, `abs` or an import of theirs, unless the tests call nothing else (`assert sum(10, 15) == 6`)."""

    link: Link | None = None
    """The connection to the candidate; None until its program has run."""
    shadowed_builtins: frozenset[str] = frozenset()
    """Names of builtins that mean the candidate's functions here."""

    def __missing__(self, name: str) -> Any:  # called by exec's lookup of a global before it looks among the builtins
        is_builtin = hasattr(builtins, name) and name not in self.shadowed_builtins
        if self.link is None or is_builtin or name.startswith("__"):
            raise KeyError(name)
        return self.link.ask("name", name)


def examine(task: dict[str, Any], link: Link) -> list[str | None]:
    """Run all tests of a task; return for each None if it passed, or why it failed, in one line."""
    names = Names(__name__="tests", __builtins__=builtins)
    for text in (task["preamble"], *task["imports"]):
        exec(compile(text, "preamble.py", "exec"), names)
    load_failure = _run_test(lambda: link.load(task["program"]))
    if load_failure is not None:
        return [load_failure]
    names.link = link
    names.shadowed_builtins = frozenset(task["shadowed_builtins"])
    if task["entry_point"]:  # the preamble may define it as a stub, which must not hide the candidate's
        names.pop(task["entry_point"], None)
    # `code=code`: a lambda looks its names up when it is called
    outcomes = [_run_test(lambda code=code: exec(compile(code, "test.py", "exec"), names)) for code in task["tests"]]
    if task["module"]:
        outcomes += _run_module(task["module"], task["entry_point"], names)
    return outcomes


def _run_module(text: str, entry_point: str, names: Names) -> list[str | None]:
    """Run a module of tests: `check(candidate)`, functions `test_…`, unittest's cases, or bare assertions."""
    names_before = set(names)
    failure = _run_test(lambda: exec(compile(text, "tests.py", "exec"), names))
    if failure is not None:
        return [failure]
    outcomes: list[str | None] = []
    for name in [name for name in names if name not in names_before]:  # a list: a test may define more names
        value = names[name]
        if name == "check":
            outcomes.append(_run_test(lambda value=value: value(names[entry_point])))
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
    """Return None if the test passed, or why it failed, in one line. Raises Unsendable: a fault of the test itself."""
    try:
        test()
    except Unsendable:
        raise
    except EOFError:
        return "the candidate's process ended"
    except BaseException as error:  # a test fails by raising
        return f"{type(error).__name__}: {error}"[:200]
    return None
