"""Adds the rewards that an environment gave on the way to a rollout's verdict."""

from __future__ import annotations

from dataclasses import replace

from rl.types import RewardSpan, Rollout, Verdict

TURNS = "turns"
"""Name of the part of a verdict that holds the sum of the replies' rewards."""


def add_turn_rewards(verdict: Verdict, rollout: Rollout) -> Verdict:
    """Return the verdict with the rewards of the environment's replies in its score, each as a span of what the policy wrote
    before the reply. A verdict that is an error stays one."""
    spans: list[RewardSpan] = []
    start = 0
    for exchange in rollout.exchanges:
        if exchange.reply.reward is not None:
            spans.append(RewardSpan(start, exchange.start, exchange.reply.reward, "tokens"))
        # The tokens of the reply itself are not the policy's: no span holds them.
        start = exchange.end
    if not spans or verdict.error is not None:
        return verdict
    total = sum(span.score for span in spans)
    parts = {**verdict.parts, TURNS: total}
    return replace(verdict, score=verdict.score + total, parts=parts, spans=(*verdict.spans, *spans))
