"""Verifies answers of random models so that advantages are not all zero; the peer calls the same function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl.types import Prompt, Rollout, Verdict


def share(text: str) -> float:
    """Return the share of ASCII letters in the text."""
    return sum(c.isascii() and c.isalpha() for c in text) / max(1, len(text))


def verify(prompt: Prompt, rollout: Rollout) -> Verdict:
    """Return the share of letters in the response as the score."""
    from rl.types import Verdict

    return Verdict(score=share(rollout.response or rollout.text))
