"""Values on the socket between the two sandboxes: frames of a length and JSON, with a tag for each type that JSON lacks.

Not pickle: whoever reads a pickle executes it.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any  # any value of the candidate's or the tests'

LONGEST = 8 << 20
"""Most bytes of a frame."""
_LONGEST_ITERATION = 100_000  # items of an iterator; it may have no end
_DICT: Any = dict
_GROUPS: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class Unsendable(TypeError):
    """A value that has no form on the wire."""


def send(descriptor: int, message: object) -> None:
    """Write a message of JSON's types. Raises Unsendable where it is too long."""
    body = json.dumps(message).encode()
    if len(body) > LONGEST:
        raise Unsendable(f"a value of {len(body)} bytes")
    data = memoryview(len(body).to_bytes(4, "little") + body)
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int) -> Any:
    """Return the next message. Raises EOFError where the other side is gone or what it sends is no message."""
    length = int.from_bytes(_read_exactly(descriptor, 4), "little")
    if length > LONGEST:
        raise EOFError
    try:
        return json.loads(_read_exactly(descriptor, length))
    except (ValueError, RecursionError):
        raise EOFError from None


def _read_exactly(descriptor: int, count: int) -> bytes:
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


def encode(value: Any, encode_object: Callable[[object], object]) -> object:
    """Return a value in JSON's types; `encode_object` encodes what is no plain data."""
    # Every branch takes the value apart by its base type's own method: a subclass of the candidate's arrives as a plain
    # value, and an `__eq__`, `__int__` or `__iter__` of its own has no say.
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, int):
        plain = int.__int__(value)
        return plain if abs(plain) < 1 << 53 else ["int", hex(plain)]  # Python refuses decimals of over 4300 digits
    if isinstance(value, float):
        return float.__float__(value)
    for tag, kind in _GROUPS.items():
        if isinstance(value, kind):
            items: Any = kind.__iter__(value)
            return [tag, [encode(item, encode_object) for item in items]]
    if isinstance(value, dict):
        pairs: Any = _DICT.items(value)
        return ["dict", [[encode(key, encode_object), encode(item, encode_object)] for key, item in pairs]]
    if isinstance(value, bytes | bytearray):
        return [type(value).__name__ if type(value) in (bytes, bytearray) else "bytes", bytes(value).hex()]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, range):
        return ["range", value.start, value.stop, value.step]
    if hasattr(value, "__next__"):
        elements: list[object] = []
        for item in value:
            elements.append(encode(item, encode_object))
            if len(elements) > _LONGEST_ITERATION:
                raise Unsendable("an iterator without end")
        return ["iterator", elements]
    return encode_object(value)


def decode(value: Any, decode_object: Callable[[str, Any], object]) -> Any:
    """Return the value that `encode` encoded; `decode_object` gets the tag and content of what is no plain data. Raises
    EOFError for anything that `encode` cannot have returned."""
    if not isinstance(value, list):
        return value
    try:
        return _decode(value, decode_object)
    except (ValueError, TypeError, IndexError, RecursionError):
        raise EOFError from None


def _decode(value: Any, decode_object: Callable[[str, Any], object]) -> Any:
    tag, content = value[0], value[1]
    if tag in _GROUPS:
        return _GROUPS[tag](decode(item, decode_object) for item in content)
    if tag == "dict":
        return {decode(key, decode_object): decode(item, decode_object) for key, item in content}
    if tag == "int":
        return int(content, 16)
    if tag in ("bytes", "bytearray"):
        return (bytes if tag == "bytes" else bytearray).fromhex(content)
    if tag == "complex":
        return complex(content, value[2])
    if tag == "range":
        return range(content, value[2], value[3])
    if tag == "iterator":
        return iter([decode(item, decode_object) for item in content])
    return decode_object(tag, content)
