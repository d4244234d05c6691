"""The exchanges between a model and its environment, as a rollout file holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from rl.messages import Exchange, Message, Reply
from rl.run.clips import store_clips, stored_clip
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


def read_exchanges(text: str | None, run_dir: Path, tokens: int) -> tuple[Exchange, ...]:
    """Return the exchanges of a rollout with so many tokens from what `exchanges_as_json` wrote, clips as the run has stored
    them. Raises ValueError for anything else."""
    if not text:
        return ()
    try:
        rows: object = json.loads(text)
        exchanges = tuple(_read_exchange(row, run_dir, tokens) for row in cast("Sequence[object]", rows))
    except (TypeError, ValueError, RecursionError) as error:  # no JSON, or none of ours
        raise ValueError("exchanges that no run has written") from error
    # Replies lie behind one another within the tokens of the rollout, and none overlaps the next.
    places = [0, *(place for exchange in exchanges for place in (exchange.start, exchange.end)), tokens]
    if places != sorted(places):
        raise ValueError("exchanges that no run has written")
    return exchanges


def _read_exchange(row: object, run_dir: Path, tokens: int) -> Exchange:
    fields = cast("Mapping[str, object]", row) if isinstance(row, dict) else {}
    messages, clips = fields.get("messages"), fields.get("clips")
    match fields:
        case {
            "text": str(text),
            "reward": None | float() | int() as reward,
            "note": str(note),
            "tokens": [int(start), int(end)],
        } if isinstance(messages, list) and isinstance(clips, list):
            said = tuple(_read_message(message) for message in cast("list[object]", messages))
            sounds = tuple(stored_clip(run_dir, str(name)) for name in cast("list[object]", clips))
            # What nobody wrote on after: a reply without a token at the very end.
            is_last = start == end == tokens
            return Exchange(text, Reply(said, sounds, reward, note, is_last), start, end)
        case _:
            raise ValueError("no exchange")


def _read_message(message: object) -> Message:
    match message:
        case [str(role), str(content)]:
            return Message(role, content)
        case _:
            raise ValueError("no message")
