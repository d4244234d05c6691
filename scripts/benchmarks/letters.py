"""A verifier for random models, so that advantages are not all zero; the peer calls the same function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl.types import Prompt, Rollout, Verdict


def share(text: str) -> float:
    """The share of ASCII letters."""
    return sum(c.isascii() and c.isalpha() for c in text) / max(1, len(text))


def verify(prompt: Prompt, rollout: Rollout) -> Verdict:
    from rl.types import Verdict

    return Verdict(score=share(rollout.response or rollout.text))
