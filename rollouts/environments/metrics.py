"""What happened between the policy and its environment, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rl.types import Rollout

ENDS = ("turns", "audio_token")
"""Ends of a rollout that its environment brought about, by `Rollout.finish_reason`."""


def exchange_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the mean number of replies and of sounds in them a rollout, how many rollouts had no reply for an error of the
    environment, the mean count of each note, and the share that ended at the most turns; nothing where no environment was."""
    if not any(rollout.exchanges or rollout.error is not None for rollout in rollouts):
        return {}
    count = len(rollouts)
    replies = [exchange.reply for rollout in rollouts for exchange in rollout.exchanges if not exchange.reply.last]
    notes = Counter(
        note for rollout in rollouts for exchange in rollout.exchanges for note in exchange.reply.note.split()
    )
    metrics = {
        "environment/replies": len(replies) / count,
        "environment/sounds": sum(len(reply.clips) for reply in replies) / count,
        "environment/errors": float(sum(rollout.error is not None for rollout in rollouts)),
        **{f"environment/note/{note}": number / count for note, number in sorted(notes.items())},
    }
    for end in ENDS:
        if share := sum(rollout.finish_reason == end for rollout in rollouts) / count:
            metrics[f"environment/ended/{end}"] = share
    return metrics
