"""Tells which part of the number line an answer describes: an interval, a union, an inequality, several joined by "or" or
"and", a set with a condition."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from rewards.answers.brackets import split_items
from rewards.answers.grammar import read_number, read_plain
from rewards.answers.kinds import Answer, Formula, Number, Relation, Series
from rewards.answers.notation import without_marks


@dataclass(frozen=True, slots=True)
class Part:
    """One interval. Its ends are numbers, or `\\infty` with a sign."""

    low: Answer
    high: Answer
    has_low: bool
    has_high: bool


@dataclass(frozen=True, slots=True)
class Region:
    """Intervals in their order, and the variable that they are of, "" where none is named."""

    name: str
    parts: tuple[Part, ...]


_LOWEST, _HIGHEST = Formula("-\\infty"), Formula("\\infty")
_VARIABLE = re.compile(r"(?:[a-zA-Z]|\\(?:theta|alpha|beta|lambda|phi))(?:_\{\w+\})?")
_ABSOLUTE = re.compile(rf"\|({_VARIABLE.pattern})\|")
_AND = re.compile(r"(?<![^\W\d_])and(?![^\W\d_])|\\(?:land|wedge|cap)(?![a-z])")
_FRENCH_OPENING, _FRENCH_CLOSING = {"]": "("}, {"[": ")"}


def region(answer: Answer) -> Region | None:
    """Return the region that an answer describes between numbers; None where it describes none."""
    if isinstance(answer, Relation):
        return _region_of_relation(answer)
    if isinstance(answer, Formula):
        return _reals_without(answer)
    if not isinstance(answer, Series):
        return None
    # The second condition is for bare lists: their opening is the empty text, which every text contains.
    if answer.opening in "([]" and answer.opening:
        return _region_of_interval(answer)
    if answer.opening == "{" or answer.opening not in ("+", "or", ""):
        return None
    regions = [region(item) for item in answer.items]
    if len(regions) < 2 or any(part is None for part in regions):
        return None
    present = [part for part in regions if part is not None]
    names = {part.name for part in present} - {""}
    if len(names) > 1:
        return None
    name = next(iter(names), "")
    if answer.opening in ("+", "or"):
        parts = sorted((part for one in present for part in one.parts), key=lambda part: _place(part.low))
        return Region(name, tuple(parts))
    if not name or not _AND.search(without_marks(answer.text)) or any(len(one.parts) > 1 for one in present):
        return None
    return _overlap(name, [one.parts[0] for one in present])


def same_region(a: Region, b: Region, equal: Callable[[Answer, Answer], bool]) -> bool:
    """Return whether two regions are the same; their ends are compared by `equal`."""
    if a.name and b.name and a.name != b.name:
        return False
    if len(a.parts) != len(b.parts):
        return False
    return all(
        (x.has_low, x.has_high) == (y.has_low, y.has_high) and equal(x.low, y.low) and equal(x.high, y.high)
        for x, y in zip(a.parts, b.parts, strict=True)
    )


def _place(end: Answer) -> float:
    if isinstance(end, Number):
        return float(end.value)
    return float("-inf") if end.text.startswith("-") else float("inf")


def _end(answer: Answer) -> Answer | None:
    """Return a number or an infinity, else None."""
    if isinstance(answer, Number):
        return answer
    text = "".join(without_marks(answer.text).split()).lstrip("+")
    return {"\\infty": _HIGHEST, "-\\infty": _LOWEST}.get(text)


def _part(low: Answer, high: Answer, has_low: bool, has_high: bool) -> Part | None:
    ends = _end(low), _end(high)
    if ends[0] is None or ends[1] is None or _place(ends[0]) > _place(ends[1]):
        return None
    return Part(ends[0], ends[1], has_low, has_high)


def _region_of_interval(interval: Series) -> Region | None:
    if len(interval.items) != 2:
        return None
    opening = _FRENCH_OPENING.get(interval.opening, interval.opening)
    closing = _FRENCH_CLOSING.get(interval.closing, interval.closing)
    part = _part(interval.items[0], interval.items[1], opening == "[", closing == "]")
    return Region("", (part,)) if part else None


def _region_of_relation(relation: Relation) -> Region | None:
    sides, signs = list(relation.sides), list(relation.operators)
    if signs == ["\\in"] and _VARIABLE.fullmatch(sides[0]):
        inside = region(read_plain(sides[1]))
        return Region(sides[0], inside.parts) if inside and not inside.name else None
    if signs and set(signs) <= {">", "\\ge"}:  # b > x > a
        sides, signs = sides[::-1], ["<" if sign == ">" else "\\le" for sign in signs[::-1]]
    if signs == ["\\ne"]:
        sides = sides if _VARIABLE.fullmatch(sides[0]) else sides[::-1]
        return _outside(sides[0], sides[1], sides[1], False)
    if not signs or not set(signs) <= {"<", "\\le"}:
        return None
    if len(sides) == 2 and (absolute := _ABSOLUTE.fullmatch(sides[0])):
        # |x| < a is -a < x < a, and a < |x|, below, what lies outside of it.
        part = _part(read_plain(f"-{sides[1]}"), read_plain(sides[1]), signs[0] != "<", signs[0] != "<")
        return Region(absolute[1], (part,)) if part else None
    if len(sides) == 2 and (absolute := _ABSOLUTE.fullmatch(sides[1])):
        return _outside(absolute[1], f"-{sides[0]}", sides[0], signs[0] != "<")
    if len(sides) == 2:
        # A bound on one side alone: the other end is infinite, and so never part of the interval.
        is_lower = read_number(sides[0]) is not None
        sides = [*sides, "\\infty"] if is_lower else ["-\\infty", *sides]
        signs = [*signs, "<"] if is_lower else ["<", *signs]
    if len(sides) != 3 or not _VARIABLE.fullmatch(sides[1]):
        return None
    part = _part(read_plain(sides[0]), read_plain(sides[2]), signs[0] != "<", signs[1] != "<")
    return Region(sides[1], (part,)) if part else None


_WITHOUT = re.compile(r"\\mathbb\{R\}\s*\\setminus\s*\\\{(.*)\\\}")


def _reals_without(answer: Formula) -> Region | None:
    """Return the region that `\\mathbb{R} \\setminus \\{1, 2\\}` is."""
    match = _WITHOUT.fullmatch(answer.text)
    numbers = [read_number(item) for item in split_items(match[1])] if match else []
    present = sorted((number for number in numbers if number is not None), key=_place)
    if not present or len(present) < len(numbers):
        return None
    ends = [_LOWEST, *present, _HIGHEST]
    return Region("", tuple(Part(low, high, False, False) for low, high in pairwise(ends)))


def _outside(name: str, low: str, high: str, has_ends: bool) -> Region | None:
    """Return what lies below `low` and above `high`."""
    below = _part(_LOWEST, read_plain(low), False, has_ends)
    above = _part(read_plain(high), _HIGHEST, has_ends, False)
    return Region(name, (below, above)) if _VARIABLE.fullmatch(name) and below and above else None


def _overlap(name: str, parts: list[Part]) -> Region | None:
    """Return what lies in all the parts; None where they have nothing in common."""
    common = parts[0]
    for _, part in pairwise(parts):
        a, b = _place(common.low), _place(part.low)
        # The inner of the two ends; where both are the same number, the one that leaves it out.
        low, has_low = (
            (common.low, common.has_low) if a > b or (a == b and not common.has_low) else (part.low, part.has_low)
        )
        c, d = _place(common.high), _place(part.high)
        high, has_high = (
            (common.high, common.has_high) if c < d or (c == d and not common.has_high) else (part.high, part.has_high)
        )
        if _place(low) >= _place(high):
            return None
        common = Part(low, high, has_low, has_high)
    return Region(name, (common,))
