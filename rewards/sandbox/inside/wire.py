"""Sends values between the two sandboxes: frames of a length and JSON, with a tag for each type that JSON lacks.

Not pickle, since reading a pickle can execute code.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any  # any value of the candidate's or the tests'

LONGEST = 8 << 20
"""Most bytes of a frame."""
_LONGEST_ITERATION = 100_000  # items of an iterator; it may have no end
_DICT: Any = dict
_TYPE: Any = type
_EMPTY: Any = {}
_VIEWS: Any = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))
_GROUPS: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
# Types of the standard library that arrive as they are: tag -> (module, its parts as plain data, the value of these parts).
# Only values of exactly these types: methods that a subclass of the candidate's overrides must have no effect.
_STANDARD: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "Fraction": ("fractions", lambda v: (v.numerator, v.denominator), lambda kind, parts: kind(*parts)),
    "Decimal": ("decimal", str, lambda kind, text: kind(text)),
    "datetime": ("datetime", lambda v: v.isoformat(), lambda kind, text: kind.fromisoformat(text)),
    "date": ("datetime", lambda v: v.isoformat(), lambda kind, text: kind.fromisoformat(text)),
    "time": ("datetime", lambda v: v.isoformat(), lambda kind, text: kind.fromisoformat(text)),
    "timedelta": ("datetime", lambda v: (v.days, v.seconds, v.microseconds), lambda kind, parts: kind(*parts)),
    "deque": ("collections", lambda v: (list(v), v.maxlen), lambda kind, parts: kind(*parts)),
    "Counter": ("collections", dict, lambda kind, items: kind(items)),
    "OrderedDict": ("collections", dict, lambda kind, items: kind(items)),
    "defaultdict": ("collections", dict, lambda kind, items: kind(None, items)),
    "dict_keys": ("builtins", list, lambda _, keys: dict.fromkeys(keys).keys()),
    "dict_values": ("builtins", list, lambda _, values: _number(values).values()),
    "dict_items": ("builtins", list, lambda _, items: dict(items).items()),
}


class Unsendable(TypeError):
    """A value that has no form on the wire."""


class TooLong(ValueError):
    """A value that no frame can hold."""


def send(descriptor: int, message: object) -> None:
    """Write a message of JSON's types. Raises TooLong."""
    body = json.dumps(message).encode()
    if len(body) > LONGEST:
        raise TooLong(f"a value of {len(body)} bytes")
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
    # Every branch takes the value apart by the methods of its base type: an object of a candidate's subclass arrives as
    # a plain value, and its own `__eq__`, `__int__` or `__iter__` has no effect.
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, int):
        plain = int.__int__(value)
        return plain if abs(plain) < 1 << 53 else ["int", hex(plain)]  # Python refuses decimals of over 4300 digits
    if isinstance(value, float):
        return float.__float__(value)
    standard = _STANDARD.get(type(value).__name__)
    if standard and _is_standard(value, standard[0]):
        return ["standard", type(value).__name__, encode(standard[1](value), encode_object)]
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
    if hasattr(_TYPE(value), "__next__"):  # an object may claim to have any attribute, its type cannot
        elements: list[object] = []
        for item in value:
            elements.append(encode(item, encode_object))
            if len(elements) > _LONGEST_ITERATION:
                raise Unsendable("an iterator without end")
        return ["iterator", elements]
    return encode_object(value)


def _is_standard(value: object, module: str) -> bool:
    kind: Any = type(value)
    # dict_keys and the like have no name in `builtins`, so they are compared by type: a class of the candidate's may
    # have the same name.
    return kind in _VIEWS if module == "builtins" else getattr(sys.modules.get(module), kind.__name__, None) is kind


def _number(values: list[Any]) -> dict[int, Any]:
    return dict(enumerate(values))


def decode(value: Any, decode_object: Callable[[str, Any], object]) -> Any:
    """Return the value that `encode` encoded; `decode_object` gets the tag and content of what is no plain data. Raises
    EOFError for anything that `encode` cannot have returned."""
    if not isinstance(value, list):
        return value
    try:
        return _decode(value, decode_object)
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, RecursionError):
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
    if tag == "standard":
        module, _, build = _STANDARD[content]
        kind = getattr(importlib.import_module(module), content, None)
        return build(kind, decode(value[2], decode_object))
    if tag == "iterator":
        return iter([decode(item, decode_object) for item in content])
    return decode_object(tag, content)


def encode_record(value: object, encode_object: Callable[[object], object]) -> object:
    """Return an object of a class that both sides have, as its class's name and the values of its attributes."""
    pairs = [[name, encode(item, encode_object)] for name, item in vars(value).items()]
    return ["record", [type(value).__name__, pairs]]


def decode_record(kind: Any, content: Any, decode_object: Callable[[str, Any], object]) -> object:
    """Return an object of the class `kind` from the content of a record, without calling its `__init__`."""
    value: object = object.__new__(kind)
    for name, item in content[1]:
        object.__setattr__(value, name, decode(item, decode_object))
    return value
