"""Questions about tones, a share of which the text gives away: which of them must be heard is known here, and to no filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from rl.data.tasks.sounds import sounds
from rl.types import AUDIO_PATCH, Demonstration, Message, Prompt


def planted(split: str | None, size: int = 4000, share: float = 0.3) -> Iterator[Prompt]:
    """Yield "which tones?" about three tones; a `share` says the answer itself, and has `fields["planted"]`."""
    for prompt in sounds(split, kinds=["pattern"], size=size):
        is_planted = Random(f"planted/{prompt.id}").random() < share
        if is_planted:
            text = f"{AUDIO_PATCH}which tones? ({prompt.answer})"
            shown = Demonstration("it is said", str(prompt.answer))
            prompt = replace(prompt, messages=(Message("user", text),), demonstration=shown)
        yield replace(prompt, fields={**prompt.fields, "planted": is_planted})
