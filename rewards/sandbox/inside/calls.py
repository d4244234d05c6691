"""Checks calls against the values that they must return."""

from __future__ import annotations

import math

from rewards.sandbox.inside.remote import Refused

TYPE_CHECKING = False  # importing typing takes a fifth of the start
if TYPE_CHECKING:
    from typing import Any  # any value of the candidate's or the tests'

_SEQUENCE: Any = (list, tuple)
_MAPPING: Any = dict


def describe_failures(results: list[Any], rights: list[Any], tolerance: float) -> list[str | None]:
    """Return for each result None where it is right, or what is wrong. APPS wraps the values of a task in lists of one:
    where all are, they are right either way, but all in the same way."""
    readings = [rights]
    if all(isinstance(right, _SEQUENCE) and len(right) == 1 for right in rights):
        readings.append([right[0] for right in rights])
    failures = [
        [_find_difference(result, right, tolerance) for result, right in zip(results, reading, strict=True)]
        for reading in readings
    ]
    return min(failures, key=lambda reasons: sum(reason is not None for reason in reasons))


def _find_difference(value: Any, right: Any, tolerance: float) -> str | None:
    try:
        return None if same_value(value, right, tolerance) else f"returned {value!r:.100}, not {right!r:.100}"
    except Refused as refusal:
        return str(refusal)
    except (ValueError, RecursionError) as error:  # an integer too long for decimals, lists in lists in lists
        return f"returned what cannot be compared: {error}"[:200]


def number_keys(argument: Any) -> Any:
    """Return an argument with its mapping's keys as integers if all of them are written so: JSON's keys are texts."""
    if isinstance(argument, _MAPPING) and argument and all(key.removeprefix("-").isdecimal() for key in argument):
        return {int(key): value for key, value in argument.items()}
    return argument


def same_value(value: Any, right: Any, tolerance: float) -> bool:
    """Return whether a candidate's value is the right one, as JSON wrote it: a tuple is a list, a mapping's keys are
    texts, and a number may differ from a fraction by `tolerance`, relative or absolute. Integers are exact."""
    if isinstance(value, _SEQUENCE):
        return (
            isinstance(right, _SEQUENCE)
            and len(value) == len(right)
            and all(same_value(a, b, tolerance) for a, b in zip(value, right, strict=True))
        )
    if isinstance(value, _MAPPING) and isinstance(right, _MAPPING):
        items, right_items = ({_json_key(key): item for key, item in pairs.items()} for pairs in (value, right))
        return items.keys() == right_items.keys() and all(
            same_value(items[key], right_items[key], tolerance) for key in items
        )
    if isinstance(value, int | float) and isinstance(right, int | float):
        return same_number(value, right, tolerance)
    return bool(value == right)  # an object of the candidate's refuses


def same_number(value: float, right: float, tolerance: float) -> bool:
    """Return whether a number is the right one. Two integers must be equal; else they may differ by `tolerance`, of the
    right one's size too if that is a fraction itself."""
    if value == right or (value != value and right != right):  # NaN is what JSON calls NaN
        return True
    if isinstance(value, int) and isinstance(right, int):
        return False
    # No relative tolerance for an integer: a share of 1e-6 of 10000019 would be ten units.
    size = max(1.0, abs(right)) if isinstance(right, float) else 1.0
    try:
        return math.isfinite(right) and abs(value - right) <= tolerance * size
    except OverflowError:  # an integer beyond all floats
        return False


def _json_key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return key if isinstance(key, str) else repr(key)
