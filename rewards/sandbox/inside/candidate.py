"""The candidate's side: runs its program as a module, then answers what the tests ask of it.

Nothing here is trusted: the program shares this process and may patch all of it.
"""

from __future__ import annotations

import operator
import os
import sys
from types import ModuleType

from rewards.sandbox.inside.wire import decode, encode, receive, send

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any  # messages, which JSON leaves untyped


def main() -> None:
    """Serve on descriptor 0: the program's text first, then `[operation, operand, …]`, answered by `["value", …]` or
    `["raised", name, text]`."""
    channel = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # `input()` finds nothing, and `print` does not write into the channel
    os.dup2(null, 1)
    module = ModuleType("candidate")
    names: dict[str, object] = vars(module)
    sys.modules["candidate"] = module  # dataclasses look their module up
    objects: list[object] = []  # values that stay here; the tests know them by index

    def encode_object(value: object) -> object:
        objects.append(value)
        return ["object", len(objects) - 1]

    def decode_object(tag: str, index: int) -> object:
        return objects[index]

    def run(program: str) -> None:
        exec(compile(program, "candidate.py", "exec"), names)

    def answer(message: list[Any]) -> object:
        operation, *operands = [decode(part, decode_object) for part in message]
        return names[operands[0]] if operation == "name" else _OPERATIONS[operation](*operands)

    message = receive(channel)
    handle: Callable[[Any], object] = run  # the first message is the program, all others are requests
    while True:
        try:
            reply = ["value", encode(handle(message), encode_object)]
            send(channel, reply)
        except BaseException as error:  # a test may expect it, and sys.exit must not end this loop
            send(channel, ["raised", type(error).__name__, str(error)[:200]])
        handle, message = answer, receive(channel)


def _call(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    return function(*args, **kwargs)


_OPERATIONS: dict[str, Callable[..., object]] = {
    "call": _call,
    "attribute": getattr,
    "item": operator.getitem,
    "contains": operator.contains,
    "length": len,
    "iterate": list,
    "text": str,
    "truth": bool,
    "equal": operator.eq,
}
