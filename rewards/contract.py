"""The types that a verifier and the pool exchange: gold cases, and answers that travel as JSON."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nextafter
from typing import Any

from rl.types import Clip, Demonstration, Message, Prompt, Rollout, Verdict

RIGHT, WRONG = (1.0, 1.0), (0.0, nextafter(1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Case:
    """One judgement that a verifier must get right: an answer scores 1.0 where it is `equal` to the gold and less
    where it is not, or lies in `score` where that range is given."""

    pred: str
    """The whole assistant turn."""
    gold: str | None
    equal: bool = True
    score: tuple[float, float] | None = None
    question: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Laid over the arguments that the recipe gives to the verifier."""
    clips: tuple[Clip, ...] = ()
    demonstration: Demonstration | None = None
    """What the data shows, for a verifier that compares with it."""

    def rollout(self) -> Rollout:
        """The case as a finished sample, one token a word."""
        import numpy as np

        turns = (Message("user", self.question),)
        prompt = Prompt("gold", turns, self.gold, "gold", self.clips, self.demonstration, self.fields)
        tokens = np.arange(1 + len(self.pred.split()), dtype=np.int64)
        logprobs = np.zeros(len(tokens) - 1, dtype=np.float32)
        return Rollout(prompt, 0, tokens, tokens > 0, logprobs, "stop", 0, self.pred)

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest score that is right."""
        return self.score or (RIGHT if self.equal else WRONG)


Answer = tuple[float, dict[str, float], str | None, str, str]
"""Score, parts, error, reason and reading of a verdict, as JSON takes them."""


def failed(error: str) -> Answer:
    return 0.0, {}, error[:2000], "", ""


def plain(verdict: object) -> Answer:
    """What a verifier answered, or an error where that is no verdict."""
    if not isinstance(verdict, Verdict):
        return failed(f"answered {type(verdict).__name__}, not a Verdict(score=…) of rl.types")
    if verdict.error is not None:
        return failed(str(verdict.error) or "error without a text")
    score: Any = verdict.score
    if not isinstance(score, numbers.Real) or not 0 <= float(score) <= 1:
        return failed(f"score {score!r} is not a number in [0, 1]")
    parts = {str(name)[:100]: float(value) for name, value in list(verdict.parts.items())[:50]}
    broken = [name for name, value in parts.items() if not math.isfinite(value)]
    if broken:
        return failed(f"part '{broken[0]}' is {parts[broken[0]]}")
    return float(score), parts, None, str(verdict.reason)[:500], str(verdict.read)[:4000]
