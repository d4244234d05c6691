"""The contract of a verifier, and the verifiers that come with the library.

A verifier is one module with `verify(prompt, rollout, **args) -> Verdict` and `GOLD`, a handful of `Case`s that it must
judge right before a run starts. The first line of its docstring says in one sentence what it judges. It may raise,
hang or exit: that costs its own sample an error and nothing else, because it runs in a process of its own. A function
`require()`, where there is one, raises ValueError before a run if something is missing that the verifier needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nextafter
from typing import Any

from rl.types import Clip, Demonstration, Message, Prompt, Rollout

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
