"""Connects the tests to the candidate's process, with proxies for the objects that stay there.

**What a test may take from a candidate.** Values of Python's own types arrive as data, taken apart by these types' own
methods, and are compared here. An object of a class of the candidate's stays where it is, and what it would answer to
`==`, `<`, `in`, `len()`, `str()`, to indexing or to iteration is not asked, since it could answer whatever makes the test
pass: the test fails with `Refused`. It may be called, and its attributes be read, but none that Python's own types have
(`startswith`, `count`, …): a test that asks for these expects such a type.

Where the tests themselves name a class that the program defines, the class is what they test, and its objects answer for
themselves. A class named `Solution` only holds functions: what its methods return is taken as from any function.
"""

from __future__ import annotations

import importlib
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from rewards.sandbox.inside.wire import (
    TooLong,
    Unsendable,
    decode,
    decode_record,
    encode,
    encode_record,
    receive,
    send,
)

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any  # any value of the candidate's or the tests'

# Exceptions that are not raised again on this side: raised within `assert all(map(f, …))` the first ones would end the
# loop, and the test would pass; a group of exceptions is made of them.
_NOT_REBUILT = ("StopIteration", "StopAsyncIteration", "GeneratorExit", "ExceptionGroup")
# Exceptions that tests expect and that are no builtins: name -> module. No others, such as unittest's SkipTest, by
# which a test would pass.
_STANDARD_ERRORS = {"JSONDecodeError": "json", "InvalidOperation": "decimal", "FrozenInstanceError": "dataclasses"}
_OF_PLAIN_TYPES = {name for kind in (str, bytes, list, tuple, dict, set, int, float) for name in dir(kind)}
_OPERATORS = (
    "lt",
    "le",
    "gt",
    "ge",
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "neg",
    "abs",
    "and",
    "or",
)
CLASS_UNDER_TEST = 1 << 30
"""Steps for a class that the tests name: it and all that comes from it answer for themselves."""
HOLDER = 2
"""Steps for `Solution`: itself and its instance do, but not what a method returns."""


class Refused(BaseException):
    """Refusal to let an object of the candidate's decide a test. No subclass of Exception, so that a test that expects
    an exception does not pass by it."""


class OwnUnsendable(Unsendable):
    """A value that only the tests can have made and that has no form on the wire, such as a lambda."""


class Link:
    """The connection to the candidate's process."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self.has_answered = False
        """True once the current test has taken a value from the candidate; what follows may depend on it."""
        self.records: dict[str, type] = {}
        """Classes that the prompt defines, as `ListNode`. Their objects cross as data: the values of their attributes."""

    def ask(self, steps: int, *message: object) -> Any:
        """Send `[operation, operand, …]` and return the value of the answer. Raises as `receive_value` does, and Unsendable
        where the test alone is to blame that something in the message has no form on the wire, else Refused."""
        try:
            send(self._channel, [encode(part, self._encode_object) for part in message])
        except OwnUnsendable:
            raise
        except (Unsendable, TooLong) as error:
            if not self.has_answered:
                raise Unsendable(str(error)) from None
            raise Refused(f"returned what leads the test to hand on {error}, which cannot leave its process") from None
        try:
            value = self.receive_value(steps)
        except BaseException:
            self.has_answered = True
            raise
        # A proxy for the function itself, which every test asks for, is no answer yet.
        self.has_answered = self.has_answered or message[0] != "name" or type(value) is not Remote
        return value

    def load(self, program: list[str]) -> None:
        """Run the parts of the candidate's program in its process. Raises as `receive_value` does."""
        send(self._channel, [program, list(self.records)])
        self.receive_value(0)

    def receive_value(self, steps: int) -> Any:
        """Return the value of the next answer; objects in it get `steps`. Raises the exception that the candidate raised,
        or EOFError where its process is gone or answers nonsense."""
        try:
            kind, value, *text = receive(self._channel)
        except (ValueError, TypeError):
            raise EOFError from None

        def decode_object(tag: str, content: Any) -> object:
            if tag == "object" and isinstance(content, int):
                return Remote(self, content, steps)
            if tag == "record":
                return decode_record(self.records[content[0]], content, decode_object)
            raise EOFError

        if kind == "value":
            return decode(value, decode_object)
        raise _rebuild_error(value, text)

    def _encode_object(self, value: object) -> object:
        if isinstance(value, Remote):
            return ["object", value.__dict__["_index"]]
        if type(value) in self.records.values():
            return encode_record(value, self._encode_object)
        kind = OwnUnsendable if _is_own(value) else Unsendable
        raise kind(f"a value of type {type(value).__name__}")


def _rebuild_error(value: Any, text: list[Any]) -> Exception:
    """Return the exception that the candidate raised, or the nearest of its bases that exists here: a test may expect
    it, as in `with assertRaises(ValueError)`. `value` names its class and its bases, the class first."""
    names: list[str] = list(map(str, value)) if isinstance(value, list) and value else [str(value)]  # pyright: ignore[reportUnknownArgumentType]
    for name in names:
        kind = getattr(importlib.import_module(_STANDARD_ERRORS.get(name, "builtins")), name, None)
        if not isinstance(kind, type) or not issubclass(kind, Exception) or name in _NOT_REBUILT:
            continue
        if kind is Exception and name != names[0]:
            break  # a class of the candidate's own: its name says more
        try:
            return kind(*text)
        except TypeError:  # UnicodeDecodeError and its kin are made of more than a text
            return kind.__new__(kind, *text)
    return RuntimeError(f"{names[0]}: {text}")


def _is_own(value: object) -> bool:
    """Return whether only the tests can have made a value, since what a candidate answers is data or a proxy."""
    if isinstance(value, MethodType):
        return _is_own(value.__self__)
    is_function = isinstance(value, FunctionType) and value.__module__ != __name__  # not a proxy's
    # `len` belongs to a module, `[].append` to what may have been an answer.
    is_builtin = isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType)
    kind = value if isinstance(value, type) else type(value)
    return is_function or is_builtin or isinstance(value, ModuleType) or kind.__module__ == "tests"


class Remote:
    """A proxy for an object in the candidate's process."""

    def __init__(self, link: Link, index: int, steps: int) -> None:
        """Stand for object number `index`. For `steps` steps from here objects answer for themselves: 1 is only this
        one."""
        self.__dict__.update(_link=link, _index=index, _steps=steps)  # `__setattr__` sets those of the object

    def _ask(self, *message: object) -> Any:
        return self._link.ask(self._steps - 1 if self._steps < CLASS_UNDER_TEST else self._steps, *message)

    def _answer(self, operation: str, *operands: object) -> Any:
        """Return the object's own answer. Raises Refused if it may not answer for itself."""
        self._check(operation)
        return self._ask(operation, self, *operands)

    def _check(self, operation: str) -> None:
        """Raise Refused where the object may not answer for itself."""
        if self._steps <= 0:
            raise Refused(f"returned an object of a class of its own, whose '{operation}' cannot decide a test")

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return self._ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._answer("attribute", name) if name in _OF_PLAIN_TYPES else self._ask("attribute", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask("set", self, name, value)

    def __getitem__(self, key: object) -> Any:
        return self._answer("__getitem__", key)

    def __setitem__(self, key: object, value: object) -> None:
        self._answer("__setitem__", key, value)

    def __contains__(self, item: object) -> bool:
        # `is True`: an object of the candidate's that counts as true is no answer
        return self._answer("__contains__", item) is True

    def __len__(self) -> int:
        return self._answer("len")

    def __iter__(self) -> Iterator[object]:
        return iter(self._answer("iter"))

    def __str__(self) -> str:
        return str(self._answer("str"))

    def __repr__(self) -> str:
        return str(self._answer("repr"))

    def __bool__(self) -> bool:
        # An object is true unless it says otherwise, and only some objects may say so.
        return self._steps <= 0 or self._ask("truth", self) is True

    def __eq__(self, other: object) -> bool:
        if other is None:
            return False
        if isinstance(other, Remote):
            if self._index == other._index:
                return True
            if self._steps < other._steps:
                return other == self  # the one that may answer
            return self._answer("__eq__", other) is True
        self._check("==")
        return False  # an object of the class under test equals no data

    def __hash__(self) -> int:
        return hash(self._index)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, Remote) and self._ask("instance", instance, self) is True


def _forward(operation: str) -> Callable[..., object]:
    def method(self: Remote, *operands: object) -> object:
        return self._answer(operation, *operands)  # pyright: ignore[reportPrivateUsage]: a method, made here

    return method


for _name in _OPERATORS:
    setattr(Remote, f"__{_name}__", _forward(f"__{_name}__"))
