"""Puts a teacher's prompt in the place of the policy's: a text that describes a clip where the policy hears it, or a
hint.

The teacher then finds how likely the policy's own tokens are, as somebody who has read more would have written them.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rl.data.rows import placeholders, render
from rl.types import AUDIO_PATCH, Message, Prompt, Rollout, Scored

if TYPE_CHECKING:
    from rl.data.chat import Chat


def teacher_prompt(prompt: Prompt, template: str) -> Prompt:
    """Return the prompt with `template` rendered as its last user turn. Its clips are left out unless the template has a place
    for them, `{audio}`. Raises ValueError for a column that there is not, and for a prompt without a user turn."""
    place = f"prompt '{prompt.id}': teacher_template"
    hears = "audio" in placeholders(template, place)
    # Marks of clips in any turn would wait for clips that do not come.
    silent = [Message(m.role, m.content.replace(AUDIO_PATCH, "").strip(" ")) for m in prompt.messages]
    last = max((i for i, message in enumerate(silent) if message.role == "user"), default=None)
    if last is None:
        raise ValueError(f"{place}: has no user turn to stand in the place of; add one to its messages")
    values: dict[str, object] = {**prompt.fields, "question": silent[last].content, "answer": prompt.answer}
    values["audio"] = AUDIO_PATCH * len(prompt.clips)
    if isinstance(options := values.get("options"), list):  # as `rl.data.prompts` shows them
        values["options"] = "\n".join(f"{string.ascii_uppercase[i]}. {option}" for i, option in enumerate(options))
    content = render(template, values, place)
    if not content.strip():
        raise ValueError(f"{place}: renders nothing; name a column that is not empty")
    silent[last] = Message("user", content)
    return replace(prompt, messages=tuple(silent), clips=prompt.clips if hears else ())


def reread(
    scored: Sequence[Scored], template: str, chat: Chat, tools: Sequence[Mapping[str, object]] = ()
) -> list[Scored]:
    """Return the samples with the teacher's prompt before the same answers, in their order: each has the actions that it had,
    and what tools have said among them. `tools` are those that the prompts show."""
    openings: dict[str, tuple[Prompt, list[int]]] = {}
    samples: list[Scored] = []
    for sample in scored:
        prompt = sample.rollout.prompt
        if prompt.id not in openings:  # the samples of a group share it
            read = teacher_prompt(prompt, template)
            openings[prompt.id] = read, chat.prompt(read.messages, read.clips, expand=True, tools=tools)
        samples.append(replace(sample, rollout=_behind(sample.rollout, *openings[prompt.id])))
    return samples


def _behind(rollout: Rollout, prompt: Prompt, opening: Sequence[int]) -> Rollout:
    """Return the rollout behind another prompt, whose tokens are `opening`."""
    import numpy as np

    # What the policy wrote begins with its first action; all before is the prompt.
    first = int(rollout.action_mask.argmax())
    tokens = np.concatenate([np.asarray(opening, dtype=rollout.tokens.dtype), rollout.tokens[first:]])
    action_mask = np.concatenate([np.zeros(len(opening), dtype=bool), rollout.action_mask[first:]])
    moved = len(opening) - first
    exchanges = tuple(replace(e, start=e.start + moved, end=e.end + moved) for e in rollout.exchanges)
    return replace(rollout, prompt=prompt, tokens=tokens, action_mask=action_mask, exchanges=exchanges)
