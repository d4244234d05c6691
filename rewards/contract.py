"""Defines what a verifier and the pool exchange: gold cases, and verdicts as plain data that JSON can carry."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nextafter
from typing import Literal

from rl.messages import Exchange
from rl.types import Clip, Demonstration, Message, Prompt, Rollout, Verdict

RIGHT, WRONG = (1.0, 1.0), (0.0, nextafter(1.0, 0.0))
"""(lowest, highest) score that a case may get where its answer equals the gold, and where it does not."""

TimeoutPolicy = Literal["zero", "error"]
"""Treatment of a sample on which a verifier uses up its CPU time or its memory: it scores 0, or is an error."""
OVER_DEADLINE = "over_deadline"
"""Inner score, 1.0, of a part that scores 0 by the policy `zero`."""
NO_OPINION = "no_opinion"
"""Inner score, 1.0, of a part that has no opinion on a sample, so that its score counts for nothing."""


def describe_memory_error(memory_mb: int) -> str:
    """Return the error of a sample on which a verifier used up its memory."""
    return f"out of memory (memory_mb: {memory_mb})"


@dataclass(frozen=True, slots=True)
class Case:
    """A gold case: one answer, and the score that a verifier must give it. An answer must score 1.0 where it is `equal`
    to the gold and less where it is not; where `score` is given, it must lie in that range instead."""

    pred: str
    """The whole assistant turn."""
    gold: str | None
    """The reference answer; None where the verifier needs none."""
    equal: bool = True
    """True where the answer must score 1.0, False where it must score less."""
    score: tuple[float, float] | None = None
    """(lowest, highest) right score, in place of `equal`."""
    question: str = ""
    """The user's turn."""
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    """Further columns of the data that the prompt carries."""
    args: Mapping[str, object] = field(default_factory=dict[str, object])
    """Arguments of the verifier for this case alone; they override those of the recipe."""
    clips: tuple[Clip, ...] = ()
    """Audio clips of the prompt."""
    demonstration: Demonstration | None = None
    """The response that the data shows, for a verifier that compares with it."""
    exchanges: tuple[Exchange, ...] = ()
    """Replies of an environment before the turn ended, for a verifier that asks what happened."""

    def rollout(self) -> Rollout:
        """Return the case as a finished sample with one token per word."""
        import numpy as np  # here: `rl check` imports this module and must not wait for numpy

        turns = (Message("user", self.question),)
        prompt = Prompt("gold", turns, self.gold, "gold", self.clips, self.demonstration, self.fields)
        tokens = np.arange(1 + len(self.pred.split()), dtype=np.int64)  # token 0 is the prompt, the rest are actions
        logprobs = np.zeros(len(tokens) - 1, dtype=np.float32)
        return Rollout(prompt, 0, tokens, tokens > 0, logprobs, "stop", 0, self.pred, exchanges=self.exchanges)

    @property
    def bounds(self) -> tuple[float, float]:
        """(lowest, highest) score that is right."""
        return self.score or (RIGHT if self.equal else WRONG)


GoldCase = tuple[str, str | None, float, float]
"""A gold case as a worker reports it: (answer, gold, lowest right score, highest right score)."""


def describe_mismatch(case: GoldCase, verdict: Verdict) -> str:
    """Return what a gold case should have scored and what it did, or "" where it scored right."""
    pred, gold, low, high = case
    if verdict.error is None and low <= verdict.score <= high:
        return ""
    right = f"in [{low:g}, {high:g}]"
    if low == 1.0:
        right = "1.0"
    elif (low, high) == WRONG:
        right = "below 1.0"
    result = verdict.error or f"scored {verdict.score:g}" + (f" ({verdict.reason})" if verdict.reason else "")
    return f"'{pred[:80]}' against gold '{(gold or '')[:80]}' should score {right}; {result}"


SpanUnit = Literal["characters", "tokens"]
WireVerdict = tuple[float, dict[str, float], str | None, str, str, list[tuple[int, int, float, SpanUnit]]]
"""Score, parts, error, reason, reading and spans of a verdict, as JSON carries them out of a worker."""
MOST_SPANS = 1000
"""Most spans of a verdict."""


def error_to_wire(error: str) -> WireVerdict:
    """Return the verdict of a sample that could not be judged."""
    return 0.0, {}, error[:2000], "", "", []


def to_wire(verdict: object, is_bounded: bool = True) -> WireVerdict:
    """Return what a verifier answered as plain data, or an error where it answered no valid verdict: one whose score is no
    number or, where it `is_bounded`, not in [0, 1]. Texts and parts are cut to bounds, so that no verifier can flood the
    parent process."""
    if not isinstance(verdict, Verdict):
        return error_to_wire(f"answered {type(verdict).__name__}, not a Verdict(score=…) of rl.types")
    if verdict.error is not None:
        return error_to_wire(str(verdict.error) or "error without a text")
    score: object = verdict.score  # annotated float, but a user's verifier may have put anything there
    if not isinstance(score, numbers.Real) or not math.isfinite(score) or (is_bounded and not 0 <= float(score) <= 1):
        return error_to_wire(f"score {score!r} is not a {'number in [0, 1]' if is_bounded else 'finite number'}")
    parts = {str(name)[:100]: float(value) for name, value in list(verdict.parts.items())[:50]}
    not_finite = [name for name, value in parts.items() if not math.isfinite(value)]
    if not_finite:
        return error_to_wire(f"part '{not_finite[0]}' is {parts[not_finite[0]]}")
    spans: list[tuple[int, int, float, SpanUnit]] = [
        (int(s.start), int(s.end), float(s.score), s.unit) for s in verdict.spans
    ]
    if len(spans) > MOST_SPANS:
        return error_to_wire(f"{len(spans):,} spans, at most {MOST_SPANS:,} are taken")
    for start, end, share, unit in spans:
        if not 0 <= start < end or not math.isfinite(share) or unit not in ("characters", "tokens"):
            return error_to_wire(f"span [{start}, {end}) of {share:g} {unit} is no piece of a sample")
    return float(score), parts, None, str(verdict.reason)[:500], str(verdict.read)[:4000], spans
