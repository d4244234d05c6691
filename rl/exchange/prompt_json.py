"""Writes a prompt as one text of JSON that a column of another library's data set carries, and reads it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import cast

from rewards.answer_forms import as_mapping
from rl.types import Clip, Demonstration, Message, Prompt


def to_json(prompt: Prompt, clips: Sequence[str]) -> str:
    """Return the prompt as JSON; `clips` are the paths of its clips. Raises ValueError for a column that JSON cannot hold."""
    if prompt.later:
        raise ValueError(
            f"prompt '{prompt.id}': part of its sound comes later, which no other library knows; leave it out"
        )
    messages = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    # Turns as they are recorded may hold sound, which JSON cannot.
    recorded = {"prompt": messages} if isinstance(prompt.fields.get("prompt"), list) else {}
    demonstration = prompt.demonstration
    values = {
        "id": prompt.id,
        "messages": [[turn.role, turn.content] for turn in prompt.messages],
        "answer": prompt.answer,
        "source": prompt.source,
        "clips": [*clips],
        "demonstration": demonstration and [demonstration.reasoning, demonstration.response],
        "fields": {**prompt.fields, **recorded},
    }
    try:
        return json.dumps(values, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"prompt '{prompt.id}': {error}; leave that column out of data.NAME.fields") from error


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    if hasattr(value, "isoformat"):  # dates and times
        return str(value)
    raise TypeError(f"a column holds {type(value).__name__}, which JSON cannot")


def from_json(text: str, folder: Path, extra_info: Mapping[str, object]) -> Prompt:
    """Return the prompt that `to_json` wrote; paths of clips begin at `folder`. `extra_info` is what verl hands on with it."""
    values = cast("dict[str, object]", json.loads(text))
    messages = cast("list[tuple[str, str]]", values["messages"])
    demonstration = cast("tuple[str, str] | None", values["demonstration"])
    fields = cast("dict[str, object]", values["fields"])
    if extra_info:
        # The data's own keys win, and without such a column all columns are in it, as in a run of ours.
        recorded = as_mapping(fields.get("extra_info"))
        fields["extra_info"] = {**extra_info, **(fields if recorded is None else recorded)}
    return Prompt(
        id=cast(str, values["id"]),
        messages=tuple(Message(role, content) for role, content in messages),
        answer=cast("str | None", values["answer"]),
        source=cast(str, values["source"]),
        clips=tuple(Clip(str(folder / path)) for path in cast("list[str]", values["clips"])),
        demonstration=Demonstration(*demonstration) if demonstration else None,
        fields=fields,
    )
