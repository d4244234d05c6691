"""Define the scales on which quantities of sound are compared: tolerances, margins, and what counts as low or high."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of one quantity."""

    tolerance: float
    """Largest error of a number in a claim that still counts as true, in steps of the scale."""
    margin: float
    """Least difference of two sounds for one to be more than the other, in steps."""
    low: float
    high: float
    """Bounds of the words low and high: at most `low` is low, at least `high` is high, between them is open."""
    unit: str
    steps: Callable[[float], float]
    """A function from a value to its position on a scale of even steps."""
    wide: float
    """Width in steps from which a range or a bound says nothing."""


def _octaves(factor: float) -> Callable[[float], float]:
    return lambda value: factor * log2(max(value, 1e-6))


def _identity(value: float) -> float:
    return value


SCALES: dict[str, Scale] = {
    "pitch": Scale(1.5, 0.5, 250, 400, "Hz", _octaves(12), 12),
    "loudness": Scale(2.5, 1.0, -30, -25, "dBFS", _identity, 12),
    "duration": Scale(2.5, 0.7, 0.6, 1.5, "s", _octaves(12), 12),
    "brightness": Scale(4.0, 1.0, 1000, 2000, "Hz", _octaves(12), 18),
    "rate": Scale(2.5, 1.0, 1.5, 2.5, "per second", _octaves(12), 12),
}
"""Scales by quantity. Steps are semitones (12 to a factor of two; 2.5 are 15 %), for loudness decibels."""
PITCH_MOVES_ST, LEVEL_MOVES_DB = 1.0, 3.0
"""Least change with which a contour rises or falls. "Flat" is true up to 1.5 times as much, false from 3 times."""
VOICED_FROM, UNVOICED_BELOW = 0.4, 0.2
"""Shares of frames with a pitch: a sound with more than the first is pitched, one with less than the second is not."""
