"""Defines the kinds of answers; `rewards.answers.grammar` reads a text as one of them, and `.equality` compares two."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rewards.answers.units import NO_UNIT, Unit
from rewards.answers.values import Value


@dataclass(frozen=True, slots=True)
class Number:
    """A number, perhaps with a unit: `42`, `\\frac{3}{4}`, `2\\pi`, `5 km/h`, `49+26` (its value says what is undone)."""

    text: str
    value: Value
    unit: Unit = NO_UNIT


@dataclass(frozen=True, slots=True)
class Based:
    """A number whose base is written beside it: `1010_2`, `52 (base 8)`."""

    text: str
    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Duration:
    """A time of several parts, in seconds: "5 hours and 30 minutes"."""

    text: str
    seconds: Fraction


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, a time of day, or both: `2023-01-05`, "January 5, 2023", "3:30 pm". Parts that are not said are None."""

    text: str
    date: tuple[int | None, int, int] | None = None
    """(year, month, day)."""
    minutes: Fraction | None = None
    """Minutes since midnight."""


@dataclass(frozen=True, slots=True)
class Series:
    """Several answers between two brackets: a tuple, an interval, a set, or, with no brackets, a list."""

    text: str
    items: tuple[Answer, ...]
    opening: str = ""
    """`(`, `[`, `{` for a set, `<` for a vector, "" for a bare list, "or" for alternatives, "to" for a range, ":" for a ratio,
    "+" for a union."""
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix, or the rows of `cases`."""

    text: str
    rows: tuple[tuple[Answer, ...], ...]
    environment: str


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides joined by `=`, `<`, `\\in`, …: an equation, an inequality, a chain."""

    text: str
    sides: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A text: "Tuesday", "all real numbers except 1"."""

    text: str


@dataclass(frozen=True, slots=True)
class Formula:
    """Any other mathematics, for a computer algebra system to compare."""

    text: str


Answer = Number | Based | Duration | Moment | Series | Grid | Relation | Words | Formula


@dataclass(frozen=True, slots=True)
class Policy:
    """Choices of what counts as equal where mathematics leaves it open, each set by the verifier argument of its
    name."""

    unevaluated: str = "refuse"
    units: str = "optional"
    bases: str = "written"
    inequalities: str = "intervals"
    order: str = "free"


DEFAULT_POLICY = Policy()
