"""Runs the candidate's program as a module, then answers what the tests ask of it.

Nothing here is trusted: the program shares this process and may patch all of it.
"""

from __future__ import annotations

import operator
import os
import sys
from types import ModuleType

from rewards.sandbox.inside.program import add_exit
from rewards.sandbox.inside.wire import decode, decode_record, encode, encode_record, receive, send

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any  # messages, which JSON leaves untyped


def main() -> None:
    """Serve on descriptor 0: `[parts of the program, classes whose objects cross as data]` first, then
    `[operation, operand, …]`, answered by `["value", …]` or `["raised", names of its class and bases, text]`."""
    channel = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # `input()` finds nothing, and `print` does not write into the channel
    os.dup2(null, 1)
    add_exit()
    module = ModuleType("candidate")
    names: dict[str, Any] = vars(module)
    sys.modules["candidate"] = module  # dataclasses look their module up
    objects: list[object] = []  # values that stay here; the tests know them by index, one for each
    indices: dict[int, int] = {}
    records: list[str] = []

    def encode_object(value: object) -> object:
        if type(value).__name__ in records and hasattr(value, "__dict__"):
            return encode_record(value, encode_object)
        if id(value) not in indices:  # unique, since `objects` keeps it alive
            indices[id(value)] = len(objects)
            objects.append(value)
        return ["object", indices[id(value)]]

    def decode_object(tag: str, content: Any) -> object:
        if tag == "record":
            return decode_record(names[content[0]], content, decode_object)
        return objects[content]

    def run(message: list[list[str]]) -> None:
        parts, records[:] = message
        for part in parts:
            try:
                exec(compile(part, "candidate.py", "exec"), names)
            except SystemExit as end:
                if end.code not in (None, 0):
                    raise
                # A program may end by `exit()`: what it has defined so far is what the tests get.

    def answer(message: list[Any]) -> object:
        operation, *operands = [decode(part, decode_object) for part in message]
        return names[operands[0]] if operation == "name" else find_operation(operation)(*operands)

    message = receive(channel)
    handle: Callable[[Any], object] = run  # the first message is the program, all others are requests
    while True:
        try:
            reply = ["value", encode(handle(message), encode_object)]
            send(channel, reply)
        except BaseException as error:  # a test may expect it, and sys.exit must not end this loop
            send(channel, ["raised", [kind.__name__ for kind in type(error).__mro__], str(error)[:200]])
        handle, message = answer, receive(channel)


def find_operation(name: str) -> Callable[..., object]:
    """Return the function that carries out a request: one of `_OPERATIONS`, or an operator such as `__lt__`."""
    return _OPERATIONS[name] if name in _OPERATIONS else getattr(operator, name)


def _call(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    return function(*args, **kwargs)


_OPERATIONS: dict[str, Callable[..., object]] = {
    "call": _call,
    "attribute": getattr,
    "set": setattr,
    "len": len,
    "iter": list,
    "str": str,
    "repr": repr,
    "truth": bool,
    "instance": isinstance,
}
"""Requests beside Python's operators."""
