"""Length: 1 up to `buffer` tokens before the longest length, then falling to 0 at it (DAPO's overlong shaping, plus 1)."""

from __future__ import annotations

import numpy as np

from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, max_tokens: int, buffer: int, min_tokens: int = 0) -> Verdict:
    """Score the number n of tokens that the policy wrote: 1.0 for min_tokens ≤ n ≤ max_tokens − buffer,
    (max_tokens − n) / buffer in the buffer, 0.0 beyond it and for a truncated turn; n / min_tokens below `min_tokens`. That
    is 1 + R_length of DAPO (arXiv 2503.14476, eq. 13). Raises ValueError where the numbers leave no room."""
    if not 0 < buffer <= max_tokens or not 0 <= min_tokens <= max_tokens - buffer:
        raise ValueError(
            f"length: needs 0 < buffer ≤ max_tokens and min_tokens ≤ max_tokens - buffer = {max_tokens - buffer}"
        )
    count = int(np.sum(rollout.action_mask))
    score = min(1.0, max(0.0, (max_tokens - count) / buffer))
    if min_tokens:
        score = min(score, count / min_tokens)
    if rollout.truncated:  # it would have gone on: its length was set by a limit, not by the policy
        score = 0.0
    return Verdict(score, reason="" if score == 1.0 else f"{count} tokens{', cut off' if rollout.truncated else ''}")


_TEN = {"max_tokens": 10, "buffer": 4, "min_tokens": 0}
GOLD = [
    Case("a b c d e f", None, args=_TEN),
    Case("a b c d e f g h", None, score=(0.5, 0.5), args=_TEN),
    Case("a b c d e f g h i j", None, score=(0.0, 0.0), args=_TEN),
    Case("a b c d e f g h i j k l", None, equal=False, args=_TEN),
    Case("a", None, score=(0.5, 0.5), args={**_TEN, "min_tokens": 2}),
]
