"""`repeat`: a block of a recipe's stages run several times, each time on what the time before has left.

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

from rl.config import ConfigError


@dataclass(frozen=True)
class Until:
    """The block ends early once `metric` has not improved for `patience` iterations."""

    metric: str
    """STAGE/METRIC, of a stage of the block: `check/accuracy`."""
    patience: int = 1
    least: float = 0.0
    """A smaller gain than this is none."""
    lower: bool = False
    """Lower is better."""

    def validate(self, place: str) -> None:
        if "/" not in self.metric:
            raise ConfigError(f"{place}.metric: '{self.metric}' names no stage; write STAGE/METRIC, say check/accuracy")
        if self.patience < 1 or self.least < 0:
            raise ConfigError(f"{place}: patience must be at least 1 and least not negative")

    @property
    def stage(self) -> str:
        return self.metric.partition("/")[0]

    @property
    def of_stage(self) -> str:
        """The metric's name within its stage."""
        return self.metric.partition("/")[2]

    def settled(self, values: Sequence[float]) -> int | None:
        """After how many iterations, with these values of the metric, there is no need for another; None: go on."""
        sign, best, best_at = -1 if self.lower else 1, float("-inf"), 0
        for i, value in enumerate(values, 1):
            if sign * value > best + (self.least if i > 1 else 0.0):
                best, best_at = sign * value, i
            elif i - best_at >= self.patience:
                return i
        return None


@dataclass(frozen=True)
class Repeat:
    """The block's own keys."""

    times: int
    until: Until | None = None
    stages: list[Any] = field(default_factory=list[Any])
    name: str = "repeat"

    def validate(self, place: str) -> None:
        if self.times < 1:
            raise ConfigError(f"{place}.times: must be at least 1; got {self.times}")
        if not self.stages:
            raise ConfigError(f"{place}.stages: empty; list the stages to repeat")


def base(name: str) -> str:
    """The name without its iteration: `rlvr` of `rlvr@2`."""
    return name.partition("@")[0]


def latest(name: str, names: Sequence[str]) -> str | None:
    """Which of `names`, in the order they were made, is meant by `name`: itself, or its latest iteration."""
    return next((made for made in reversed(names) if name in (made, base(made))), None)
