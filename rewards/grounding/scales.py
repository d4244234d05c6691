"""The scales on which quantities of sound are compared, and from which difference on they are told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2


@dataclass(frozen=True, slots=True)
class Scale:
    """How a quantity is compared."""

    tolerance: float
    """By how much a named value may be off, in the scale's steps."""
    margin: float
    """From which difference on two sounds are told apart, in steps."""
    low: float
    high: float
    """Level words: at most `low` is low, at least `high` is high, what lies between is open."""
    unit: str
    steps: Callable[[float], float]
    """Value -> position on a scale of even steps."""
    wide: float
    """Steps from which on a range or a bound says nothing."""


def _octaves(factor: float) -> Callable[[float], float]:
    return lambda value: factor * log2(max(value, 1e-6))


def _same(value: float) -> float:
    return value


SCALES: dict[str, Scale] = {
    "pitch": Scale(1.5, 0.5, 250, 400, "Hz", _octaves(12), 12),
    "loudness": Scale(2.5, 1.0, -30, -25, "dBFS", _same, 12),
    "duration": Scale(2.5, 0.7, 0.6, 1.5, "s", _octaves(12), 12),
    "brightness": Scale(4.0, 1.0, 1000, 2000, "Hz", _octaves(12), 18),
    "rate": Scale(2.5, 1.0, 1.5, 2.5, "per second", _octaves(12), 12),
}
"""Steps are semitones (12 to a factor of two; 2.5 are 15 %), for loudness decibels."""
PITCH_MOVES_ST, LEVEL_MOVES_DB = 1.0, 3.0
"""From which change on a contour rises or falls; up to 1.5 times as much it is still flat, from 3 times no longer."""
VOICED, UNVOICED = 0.4, 0.2
"""Shares of frames with a pitch: from the one on a sound is pitched, below the other it is not."""
