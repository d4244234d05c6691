"""Reads what reward functions in other forms than ours answer: numbers of any library, lists of one, mappings, tuples,
objects."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import cast

from rewards.contract import NO_OPINION
from rewards.signatures import Form
from rl.types import Verdict

READ_NAMES = ("pred", "prediction", "extracted", "extracted_answer", "parsed_answer")
"""Keys of a mapping that hold the answer which the function has read."""
SCORE_NAMES = ("score", "reward", "rewards", "scores")
"""Keys of a mapping that hold the score, the likeliest first."""
ABSTAINING: tuple[Form, ...] = ("trl", "single")
"""Forms in which None is no opinion."""


def read_result(result: object, form: Form) -> object:
    """Return a function's answer as a verdict; what cannot be read as one, as it is or as an error that says why."""
    verdict = _read_batch(result) if form in ("ours_batch", "verl_batch", "trl", "openrlhf") else _read_one(result)
    if form not in ABSTAINING and isinstance(verdict, Verdict) and NO_OPINION in verdict.parts:
        # Elsewhere a None is a forgotten `return`.
        return Verdict(error="answered NoneType, not a Verdict(score=…) of rl.types or a number")
    return verdict


def _read_batch(result: object) -> object:
    """Return the verdict on the one sample of a batch."""
    if isinstance(result, Mapping):
        columns = cast("Mapping[str, object]", result)
        first = {name: first_item(value) for name, value in columns.items()}
        return _read_one(first)
    items = _items(result)
    if items is None:
        return _read_one(result)
    if len(items) != 1:
        return Verdict(error=f"answered {len(items)} scores for 1 completion; answer one for each")
    return _read_one(items[0])


def first_item(value: object) -> object:
    """Return the one item of a column of scores; anything else as it is."""
    items = _items(value)
    return items[0] if items and len(items) == 1 else value


def _items(value: object) -> list[object] | None:
    """Return the items of a list, a tuple, an array or a tensor that has any dimension; None for anything else."""
    if hasattr(value, "tolist") and not isinstance(value, list | tuple):
        # Of an array without dimensions `tolist` makes a bare number, which is no list of scores.
        value = value.tolist()  # type: ignore[attr-defined]
    return list(cast("Sequence[object]", value)) if isinstance(value, list | tuple) else None


def read_number(value: object) -> float | None:
    """Return a number of Python's, numpy's or torch's, also a bool or an array of one; None for anything else."""
    number = value
    # An array or a tensor with any other number of values than one, or an integer beyond all floats.
    with contextlib.suppress(ValueError, RuntimeError, TypeError, OverflowError):
        if hasattr(value, "item"):
            number = cast("object", value.item())  # type: ignore[attr-defined]
        if not isinstance(number, str | bytes | complex) and hasattr(number, "__float__"):
            return float(cast(float, number))
    return None


def _read_one(result: object) -> object:
    if isinstance(result, Verdict):
        return result
    if result is None:
        return Verdict(0.0, {NO_OPINION: 1.0}, reason="no opinion")
    if isinstance(result, Mapping):
        return _read_mapping(cast("Mapping[str, object]", result))
    if not isinstance(result, tuple) and any(name in getattr(result, "__dict__", {}) for name in SCORE_NAMES):
        return _read_mapping(vars(result))  # an object of a class for results
    if isinstance(result, list | tuple):
        return _read_sequence(list(cast("Sequence[object]", result)))
    score = read_number(result)
    if score is None:
        return Verdict(
            error=f"answered {type(result).__name__} {result!r:.60}, not a Verdict(score=…) of rl.types or a number"
        )
    return Verdict(score)


def _read_sequence(items: list[object]) -> object:
    """Return the verdict of (score, …), as some of verl's functions answer: texts are the reason, mappings parts."""
    if not items:
        return Verdict(error="answered an empty list; answer a score")
    score = read_number(items[0])
    if score is None:
        return Verdict(error=f"answered a list that begins with {items[0]!r:.60}, not with a score")
    mappings = [mapping for item in items[1:] if (mapping := as_mapping(item)) is not None]
    merged = {name: value for mapping in mappings for name, value in mapping.items()}
    reason = "; ".join(item for item in items[1:] if isinstance(item, str))
    parts, texts = _split_columns(merged)
    return Verdict(score, parts, reason="; ".join(filter(None, [reason, *texts.values()])))


def _read_mapping(result: Mapping[str, object]) -> object:
    """Return the verdict of a mapping with a score: other numbers are its parts, texts its reason."""
    name = next((name for name in SCORE_NAMES if name in result), None)
    if name is None:
        return Verdict(error=f"answered a mapping without 'score' (it has {', '.join(map(str, result)) or 'nothing'})")
    if result[name] is None:
        return _read_one(None)
    score = read_number(result[name])
    if score is None:
        return Verdict(error=f"'{name}' is {result[name]!r:.60}, not a number")
    parts, texts = _split_columns({key: value for key, value in result.items() if key != name})
    read = next((texts.pop(key) for key in READ_NAMES if key in texts), "")
    reason = "; ".join(f"{key}: {text}" for key, text in texts.items() if text)
    return Verdict(score, parts, reason=reason, read=read)


def _split_columns(columns: Mapping[str, object]) -> tuple[dict[str, float], dict[str, str]]:
    """Return (finite numbers, texts) of a mapping; inner mappings as `name/inner`."""
    parts, texts = dict[str, float](), dict[str, str]()
    for name, value in columns.items():
        number = read_number(value)
        if isinstance(value, Mapping):
            inner_parts, inner_texts = _split_columns(cast("Mapping[str, object]", value))
            parts |= {f"{name}/{inner}": number for inner, number in inner_parts.items()}
            texts |= {f"{name}/{inner}": text for inner, text in inner_texts.items()}
        elif isinstance(value, str):
            texts[str(name)] = value
        elif number is not None and math.isfinite(number):  # a lack of a side note costs no sample its score
            parts[str(name)] = number
    return parts, texts


def as_mapping(value: object) -> Mapping[str, object] | None:
    """Return a mapping; None for anything else."""
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else None
