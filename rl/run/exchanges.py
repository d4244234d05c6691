"""The exchanges between a model and its environment, as a rollout file holds them."""

from __future__ import annotations

import json
from pathlib import Path

from rl.run.clips import store_clips
from rl.types import Rollout


def exchanges_as_json(rollout: Rollout, run_dir: Path) -> str | None:
    """Return the exchanges of a rollout as JSON, None where it has none: a list of what the policy wrote (`text`), the
    `messages` that the environment replied, as [role, content], its `clips` (names under the run's `clips/`, where they are
    stored), `reward` and `note`, and the `tokens` [start, end] of the reply. Raises DiskFull."""
    if not rollout.exchanges:
        return None
    rows = [
        {
            "text": exchange.text,
            "messages": [[message.role, message.content] for message in exchange.reply.messages],
            "clips": store_clips(run_dir, exchange.reply.clips),
            "reward": exchange.reply.reward,
            "note": exchange.reply.note,
            "tokens": [exchange.start, exchange.end],
        }
        for exchange in rollout.exchanges
    ]
    return json.dumps(rows, ensure_ascii=False)
