"""Counts of what happened between the policy and its environment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rl.types import Rollout

ENDS = ("turns", "audio_token")
"""Ends of a rollout that its environment brought about, by `Rollout.finish_reason`."""

PROCESS_ERRORS = {
    "used its": "deadline",
    "gave no answer": "deadline",
    "out of memory": "memory",
    "the verifier": "exit",
    "the prompt": "prompt",
    "it has asked for nothing": "nothing_asked",
}
"""Beginnings of the errors of an environment that could not answer for itself, with the words under which they are counted."""
_EXCEPTION = re.compile(r"([A-Za-z_]\w{0,60})(?::|$)")


def error_reason(error: str) -> str:
    """Return the word under which an error of an environment is counted: what became of its process, the name of what it raised,
    or `reply` for a reply that the model's template or ears cannot take; of a harness `verdict` for one that is none."""
    kind, _, text = error.partition(": ")
    if process := next((word for start, word in PROCESS_ERRORS.items() if text.startswith(start)), None):
        return process
    exception = _EXCEPTION.match(text)
    if exception:
        return exception[1]
    return "verdict" if kind == "harness" else "reply"


def exchange_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the mean number of replies and of sounds in them a rollout, how many rollouts had no reply for an error of the
    environment, also by its reason, the mean count of each note, and the share that ended at the most turns; nothing where no environment was."""
    if not any(rollout.exchanges or rollout.error is not None for rollout in rollouts):
        return {}
    count = len(rollouts)
    replies = [exchange.reply for rollout in rollouts for exchange in rollout.exchanges if not exchange.reply.last]
    notes = Counter(
        note for rollout in rollouts for exchange in rollout.exchanges for note in exchange.reply.note.split()
    )
    errors = Counter(error_reason(rollout.error) for rollout in rollouts if rollout.error is not None)
    metrics = {
        "environment/replies": len(replies) / count,
        "environment/sounds": sum(len(reply.clips) for reply in replies) / count,
        "environment/errors": float(errors.total()),
        **{f"environment/error/{reason}": float(number) for reason, number in sorted(errors.items())},
        **{f"environment/note/{note}": number / count for note, number in sorted(notes.items())},
    }
    for end in ENDS:
        if share := sum(rollout.finish_reason == end for rollout in rollouts) / count:
            metrics[f"environment/ended/{end}"] = share
    return metrics
