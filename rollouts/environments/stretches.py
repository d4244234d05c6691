"""Compares the stretches of a clip that a policy asked to hear again with the one that the question is about, and with
each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rl.messages import Exchange
from rl.types import Prompt, Rollout

FIELD = "stretch"
"""Column of a prompt with the stretch that its question is about: [start, end] in seconds."""
# Digits are matched in one way only: `\d+\.?\d*` would try all ways to part a long number that no comma follows.
_NUMBER = r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+))\s*"
_CALL = re.compile(rf"<(\w+)>{_NUMBER},{_NUMBER}(?:,[^<>]*)?</\1>")

Stretch = tuple[float, float]
"""(start, end) in seconds."""


def heard_stretch(exchange: Exchange) -> Stretch | None:
    """Return the stretch that the last tag asked for and that was heard, or None where nothing was."""
    # The last token of a tag may hold more than the tag, as in `</seg>,`: so it need not end the text.
    call = next(reversed([*_CALL.finditer(exchange.text)]), None)
    if call is None or not exchange.reply.clips or exchange.reply.last:
        return None
    return float(call[2]), float(call[3])


def union_share(a: Stretch, b: Stretch) -> float:
    """Return the intersection of two stretches over their union (IoU): 1 for the same stretch, 0 for disjoint ones."""
    common = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    together = (a[1] - a[0]) + (b[1] - b[0]) - common
    return common / together if together > 0 else 0.0


def overlap(stretches: Sequence[Stretch]) -> float:
    """Return the share of the time heard that was heard before: 1 - union / sum."""
    total = sum(end - start for start, end in stretches)
    covered, reached = 0.0, float("-inf")
    # By their starts: of each only what lies beyond all that were before it is new.
    for start, end in sorted(stretches):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - covered / total if total > 0 else 0.0


def stretch_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the mean IoU of the heard stretches with those that prompts name, the mean overlap of a rollout's own where it has
    several, and the share of rollouts with any; nothing where nothing was heard again."""
    heard = [(rollout.prompt, [s for e in rollout.exchanges if (s := heard_stretch(e))]) for rollout in rollouts]
    again = [(prompt, stretches) for prompt, stretches in heard if stretches]
    if not again:
        return {}
    shares = [
        union_share(target, stretch)
        for prompt, stretches in again
        if (target := _target(prompt)) is not None
        for stretch in stretches
    ]
    overlaps = [overlap(stretches) for _, stretches in again if len(stretches) > 1]
    metrics = {"environment/heard_again": len(again) / len(rollouts)}
    if shares:
        metrics["environment/iou"] = sum(shares) / len(shares)
    if overlaps:
        metrics["environment/overlap"] = sum(overlaps) / len(overlaps)
    return metrics


def _target(prompt: Prompt) -> Stretch | None:
    match prompt.fields.get(FIELD):
        case [int() | float() as start, int() | float() as end]:
            return float(start), float(end)
        case _:
            return None
