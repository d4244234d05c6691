"""Counts what happened between the policy and its environment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rl.types import Rollout
from rollouts.environments.stretches import stretch_metrics

ENDS = ("turns", "audio_token")
"""Ends of a rollout that its environment brought about, by `Rollout.finish_reason`."""

MOST_NOTES = 50
"""Notes of a step that have a metric each, the most frequent ones; `others` counts the rest."""
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
    """Return the mean number of replies, of sounds in them, of tokens that they put in and of those that the policy wrote behind the
    last reply, a rollout; which stretches were heard again; how many rollouts had no reply for an error of the
    environment, also by its reason, the mean count of each note, and the share that ended at the most turns; nothing where no environment was."""
    if not any(rollout.exchanges or rollout.error is not None for rollout in rollouts):
        return {}
    count = len(rollouts)
    replies = [exchange.reply for rollout in rollouts for exchange in rollout.exchanges if not exchange.reply.last]
    notes = Counter(
        note for rollout in rollouts for exchange in rollout.exchanges for note in exchange.reply.note.split()
    )
    # A user's environment may put numbers into its notes: each would become a metric that all trackers must keep.
    common = dict(sorted(notes.items(), key=lambda item: (-item[1], item[0]))[:MOST_NOTES])
    if rest := notes.total() - sum(common.values()):
        common["others"] = common.get("others", 0) + rest
    errors = Counter(error_reason(rollout.error) for rollout in rollouts if rollout.error is not None)
    metrics = {
        "environment/replies": len(replies) / count,
        "environment/sounds": sum(len(reply.clips) for reply in replies) / count,
        "environment/tokens": sum(e.end - e.start for r in rollouts for e in r.exchanges) / count,
        **_written_after(rollouts),
        **stretch_metrics(rollouts),
        "environment/errors": float(errors.total()),
        **{f"environment/error/{reason}": float(number) for reason, number in sorted(errors.items())},
        **{f"environment/note/{note}": number / count for note, number in sorted(common.items())},
    }
    for end in ENDS:
        if share := sum(rollout.finish_reason == end for rollout in rollouts) / count:
            metrics[f"environment/ended/{end}"] = share
    return metrics


def _written_after(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the mean number of tokens that the policy wrote behind the last reply, over the rollouts with any that went on."""
    ends = [(r, r.exchanges[-1].end) for r in rollouts if r.exchanges and not r.exchanges[-1].reply.last]
    if not ends:
        return {}
    return {"environment/tokens_after": sum(int(r.action_mask[end:].sum()) for r, end in ends) / len(ends)}
