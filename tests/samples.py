"""A scored sample as a run records it."""

from __future__ import annotations

import numpy as np

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
