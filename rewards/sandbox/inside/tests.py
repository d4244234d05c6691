"""The tests' side: run them with every name that only the candidate defines standing for what its process answers."""

from __future__ import annotations

import builtins
import json
import os
import sys

from rewards.sandbox.inside.wire import Unsendable, decode, encode, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ENDS_LOOPS = ("StopIteration", "StopAsyncIteration", "GeneratorExit")  # raised in `all(map(f, …))` they would pass it


def main(channel: int) -> None:
    """Read what to test from descriptor 0 (JSON: program, preamble, imports, tests, module, entry_point, lent), ask the
    candidate on descriptor `channel` and write `{"outcomes": [null or why it failed, …]}` or `{"error": …}` to descriptor 1."""
    verdict = os.dup(1)
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    task = json.loads(sys.stdin.read())
    try:
        result = {"outcomes": examine(task, Link(channel))}
    except Unsendable as error:
        result = {"error": f"a test hands the candidate what cannot leave its process: {error}"}
    os.write(verdict, json.dumps(result).encode())


class Link:
    """The candidate's process, as functions of values."""

    def __init__(self, channel: int) -> None:
        self._channel = channel

    def ask(self, *message: Any) -> Any:
        send(self._channel, [encode(part, _reference) for part in message])
        return self.answer()

    def load(self, program: str) -> None:
        send(self._channel, program)
        self.answer()

    def answer(self) -> Any:
        try:
            kind, value, *text = receive(self._channel)
        except (ValueError, TypeError):
            raise EOFError from None
        if kind == "value":
            return decode(value, self._object)
        known = getattr(builtins, str(value), None)
        if isinstance(known, type) and issubclass(known, Exception) and value not in _ENDS_LOOPS:
            raise known(*text)
        raise RuntimeError(f"{value}: {text}")

    def _object(self, tag: str, index: Any) -> Remote:
        if tag != "object":
            raise EOFError
        return Remote(self, index)


class Remote:
    """An object that stays in the candidate's process. It equals no data: an `__eq__` of the candidate's decides
    nothing but the equality of two objects of its own."""

    def __init__(self, link: Link, index: Any) -> None:
        self.__dict__.update(_link=link, _index=index)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._link.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._link.ask("attribute", self, name)

    def __getitem__(self, key: Any) -> Any:
        return self._link.ask("item", self, key)

    def __contains__(self, item: Any) -> bool:
        return self._link.ask("contains", self, item) is True

    def __len__(self) -> int:
        return self._link.ask("length", self)

    def __iter__(self) -> Any:
        return iter(self._link.ask("iterate", self))

    def __str__(self) -> str:
        return str(self._link.ask("text", self))

    def __bool__(self) -> bool:
        return self._link.ask("truth", self) is True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and self._link.ask("equal", self, other) is True

    def __hash__(self) -> int:
        return hash(self._index)


def _reference(value: Any) -> Any:
    if isinstance(value, Remote):
        return ["object", value.__dict__["_index"]]
    raise Unsendable(f"a value of type {type(value).__name__}")


class Names(dict[str, "Any"]):
    """The tests' globals. A name that neither they nor Python define is the candidate's: it cannot take the place of
    `set`, `abs` or an import of theirs, unless the tests call nothing else (`assert sum(10, 15) == 6`)."""

    link: Link | None = None
    lent: frozenset[str] = frozenset()
    """Names of Python's that mean the candidate's."""

    def __missing__(self, name: str) -> Any:
        if self.link is None or (hasattr(builtins, name) and name not in self.lent) or name.startswith("__"):
            raise KeyError(name)
        return self.link.ask("name", name)


def examine(task: dict[str, Any], link: Link) -> list[str | None]:
    """For each test None, or in a line why it failed."""
    names = Names(__name__="tests", __builtins__=builtins)
    for text in (task["preamble"], *task["imports"]):
        exec(compile(text, "preamble.py", "exec"), names)
    failed = _outcome(lambda: link.load(task["program"]))
    if failed is not None:
        return [failed]
    names.link = link
    names.lent = frozenset(task["lent"])
    if task["entry_point"]:
        names.pop(task["entry_point"], None)
    outcomes = [_outcome(lambda code=code: exec(compile(code, "test.py", "exec"), names)) for code in task["tests"]]
    return outcomes + (_module(task["module"], task["entry_point"], names) if task["module"] else [])


def _module(text: str, entry_point: str, names: Names) -> list[str | None]:
    """A module of tests: `check(candidate)`, functions `test_…`, unittest's cases, or bare assertions."""
    before = set(names)
    broken = _outcome(lambda: exec(compile(text, "tests.py", "exec"), names))
    if broken is not None:
        return [broken]
    outcomes: list[str | None] = []
    for name in [name for name in names if name not in before]:
        value = names[name]
        if name == "check":
            outcomes.append(_outcome(lambda value=value: value(names[entry_point])))
        elif name.startswith("test_") and callable(value):
            outcomes.append(_outcome(value))
        elif isinstance(value, type) and hasattr(value, "assertEqual") and value.__module__ == "tests":
            outcomes += _cases(value)
    return outcomes or [None]


def _cases(case: Any) -> list[str | None]:
    import unittest

    outcomes: list[str | None] = []
    for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
        result = unittest.TestResult()
        test.run(result)
        broken = result.failures + result.errors
        outcomes.append(broken[0][1].strip().splitlines()[-1][:200] if broken else None)
    return outcomes


def _outcome(test: Any) -> str | None:
    try:
        test()
    except Unsendable:
        raise
    except EOFError:
        return "the candidate's process ended"
    except BaseException as error:  # a test fails by raising
        return f"{type(error).__name__}: {error}"[:200]
    return None
