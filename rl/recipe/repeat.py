"""`repeat`: a block of a recipe's stages run several times, each iteration on what the one before has left.

    - repeat:
        times: 3
        until: {metric: check/accuracy, patience: 1}
        stages: [curate: {…}, distill: {…}, sft: {…}, rlvr: {…}, evaluate: {name: check, …}]

Its stages become `curate@1`, …, `rlvr@3`. Inside the block and after it a name means its latest iteration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rl.config import ConfigError, shorten

MOST_TIMES = 100
"""Largest number of iterations of a block: each of its stages is listed once for each."""


@dataclass(frozen=True)
class Until:
    """Early end of a block, once `metric` has not improved for `patience` iterations."""

    metric: str
    """STAGE/METRIC of a stage of the block: `check/accuracy`."""
    patience: int = 1
    """Iterations without a gain after which the block ends."""
    least: float = 0.0
    """Smallest gain that counts as an improvement."""
    lower: bool = False
    """True if a lower value is better."""

    def validate(self, place: str) -> None:
        """Raise ConfigError, beginning with `place`, for a setting out of bounds."""
        if "/" not in self.metric:
            raise ConfigError(f"{place}.metric: '{self.metric}' names no stage; write STAGE/METRIC, say check/accuracy")
        if self.patience < 1 or self.least < 0:
            raise ConfigError(f"{place}: patience must be at least 1 and least not negative")

    @property
    def stage(self) -> str:
        """Name of the stage whose metric it is."""
        return self.metric.partition("/")[0]

    @property
    def of_stage(self) -> str:
        """Name of the metric within its stage."""
        return self.metric.partition("/")[2]

    def last_iteration(self, values: Sequence[float]) -> int | None:
        """Return the iteration, from 1, at which the block ends, by the metric's value after each so far; None to go on."""
        # A first value is always a gain, however small.
        sign, best, best_at = -1 if self.lower else 1, float("-inf"), 0
        for i, value in enumerate(values, 1):
            if sign * value > best + (self.least if i > 1 else 0.0):
                best, best_at = sign * value, i
            elif i - best_at >= self.patience:
                return i
        return None


@dataclass(frozen=True)
class Repeat:
    """Settings of a repeated block."""

    times: int
    """Iterations at most."""
    until: Until | None = None
    """Condition under which the block ends earlier."""
    stages: list[Any] = field(default_factory=list[Any])
    """Stages of the block, as in `stages:`."""
    name: str = "repeat"
    """Name of the block."""

    def validate(self, place: str) -> None:
        """Raise ConfigError, beginning with `place`, for a setting out of bounds."""
        if self.times < 1:
            raise ConfigError(f"{place}.times: must be at least 1; got {shorten(self.times)}")
        if self.times > MOST_TIMES:
            raise ConfigError(f"{place}.times: must be at most {MOST_TIMES}; got {shorten(self.times)}")
        if not self.stages:
            raise ConfigError(f"{place}.stages: empty; list the stages to repeat")


def base(name: str) -> str:
    """Return the name without its iteration: `rlvr` of `rlvr@2`."""
    return name.partition("@")[0]


def latest(name: str, names: Sequence[str]) -> str | None:
    """Return the last of `names` that is `name` or an iteration of it, or None; `names` are in the order the stages ran."""
    return next((candidate for candidate in reversed(names) if name in (candidate, base(candidate))), None)
