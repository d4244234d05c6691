"""Values between the two sandboxes: frames of a length and JSON, with a tag for what JSON lacks. Not pickle: whoever
reads a pickle runs it."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False  # typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LONGEST = 8 << 20  # bytes of a frame
_LONGEST_ITERATION = 100_000
_DICT: Any = dict
_GROUPS: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class Unsendable(TypeError):
    """A value that has no form on the wire."""


def send(descriptor: int, message: object) -> None:
    body = json.dumps(message).encode()
    if len(body) > LONGEST:
        raise Unsendable(f"a value of {len(body)} bytes")
    data = memoryview(len(body).to_bytes(4, "little") + body)
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int) -> Any:
    """The next message; EOFError where the other side is gone or talks nonsense."""
    length = int.from_bytes(_exactly(descriptor, 4), "little")
    if length > LONGEST:
        raise EOFError
    try:
        return json.loads(_exactly(descriptor, length))
    except (ValueError, RecursionError):
        raise EOFError from None


def _exactly(descriptor: int, count: int) -> bytes:
    pieces: list[bytes] = []
    while count:
        try:
            piece = os.read(descriptor, min(count, 1 << 16))
        except OSError:
            piece = b""
        if not piece:
            raise EOFError
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def encode(value: Any, other: Callable[[Any], Any]) -> Any:
    """A value for `send`; `other` has the say on what is no plain data. Subclasses go as what they extend, so that no
    `__eq__` of the candidate's travels along."""
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, int):
        plain = int.__int__(value)
        return plain if abs(plain) < 1 << 53 else ["int", hex(plain)]
    if isinstance(value, float):
        return float.__float__(value)
    for tag, kind in _GROUPS.items():
        if isinstance(value, kind):
            items: Any = kind.__iter__(value)
            return [tag, [encode(item, other) for item in items]]
    if isinstance(value, dict):
        pairs: Any = _DICT.items(value)
        return ["dict", [[encode(key, other), encode(item, other)] for key, item in pairs]]
    if isinstance(value, bytes | bytearray):
        return [type(value).__name__ if type(value) in (bytes, bytearray) else "bytes", bytes(value).hex()]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, range):
        return ["range", value.start, value.stop, value.step]
    if hasattr(value, "__next__"):
        produced: list[Any] = []
        for item in value:
            produced.append(encode(item, other))
            if len(produced) > _LONGEST_ITERATION:
                raise Unsendable("an iterator without end")
        return ["iterator", produced]
    return other(value)


def decode(value: Any, other: Callable[[str, Any], Any]) -> Any:
    """What `encode` made; `other` is asked for tags that are not data's. Raises EOFError for nonsense."""
    if not isinstance(value, list):
        return value
    try:
        return _decode(value, other)
    except (ValueError, TypeError, IndexError, RecursionError):
        raise EOFError from None


def _decode(value: Any, other: Callable[[str, Any], Any]) -> Any:
    tag, content = value[0], value[1]
    if tag in _GROUPS:
        return _GROUPS[tag](decode(item, other) for item in content)
    if tag == "dict":
        return {decode(key, other): decode(item, other) for key, item in content}
    if tag == "int":
        return int(content, 16)
    if tag in ("bytes", "bytearray"):
        return (bytes if tag == "bytes" else bytearray).fromhex(content)
    if tag == "complex":
        return complex(content, value[2])
    if tag == "range":
        return range(content, value[2], value[3])
    if tag == "iterator":
        return iter([decode(item, other) for item in content])
    return other(tag, content)
