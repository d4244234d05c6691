"""The candidate's side: run its program as a module, then answer what the tests ask of it.

Nothing here is trusted: the program shares this process and may patch all of it.
"""

from __future__ import annotations

import operator
import os
import sys
from types import ModuleType

from rewards.sandbox.inside.wire import decode, encode, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    """Serve on descriptor 0: the program's text first, then `[operation, operand, …]`, answered by `["value", …]` or
    `["raised", name, text]`."""
    channel = os.dup(0)
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 0)
    os.dup2(silence, 1)
    module = ModuleType("candidate")
    names: dict[str, Any] = vars(module)
    sys.modules["candidate"] = module  # dataclasses look their module up
    kept: list[Any] = []

    def keep(value: Any) -> Any:
        kept.append(value)
        return ["object", len(kept) - 1]

    def kept_at(tag: str, index: int) -> Any:
        return kept[index]

    def run(program: str) -> None:
        exec(compile(program, "candidate.py", "exec"), names)

    def answer(message: list[Any]) -> Any:
        operation, *operands = [decode(part, kept_at) for part in message]
        return names[operands[0]] if operation == "name" else _OPERATIONS[operation](*operands)

    message = receive(channel)
    work: Any = run
    while True:
        try:
            reply = ["value", encode(work(message), keep)]
            send(channel, reply)
        except BaseException as error:  # what a test may expect, and what must not end the serving: sys.exit
            send(channel, ["raised", type(error).__name__, str(error)[:200]])
        work, message = answer, receive(channel)


def _call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


_OPERATIONS: dict[str, Any] = {
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
