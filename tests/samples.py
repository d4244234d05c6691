"""A scored sample as a run records it, and a rollout as an environment is shown it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl.messages import Exchange
from rl.types import Message, Prompt, Rollout, Scored, Verdict


def scored_sample(
    text: str = "<think>\n2 and 2\n</think>\n4",
    score: float = 1.0,
    id: str = "p",
    answer: str | None = "4",
    error: str | None = None,
    parts: dict[str, float] | None = None,
    reason: str = "",
    written: int = 3,
) -> Scored:
    """A sample of `written` tokens after a prompt of two."""
    tokens = np.arange(written + 2, dtype=np.int64)
    logprobs = np.full(written, -0.5, dtype=np.float32)
    prompt = Prompt(id, (Message("user", "2 + 2?"),), answer, "sums")
    rollout = Rollout(prompt, 0, tokens, tokens >= 2, logprobs, "stop", 7, text)
    return Scored(rollout, Verdict(score, parts or {}, error, reason))


def paused_rollout(prompt: Prompt, text: str, exchanges: Sequence[Exchange] = ()) -> Rollout:
    """A rollout so far, for an environment that reads its text alone: two tokens of a prompt and two of the policy's."""
    tokens = np.arange(4)
    logprobs = np.zeros(2, np.float32)
    return Rollout(prompt, 0, tokens, tokens > 1, logprobs, "stop", 0, text, exchanges=(*exchanges,))
