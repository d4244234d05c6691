"""Questions about tones, a share of which the text gives away: which of them must be heard is known here, and to no filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from rl.data.controls import silence
from rl.data.tasks.random_sounds import PATTERNS
from rl.data.tasks.sounds import sounds
from rl.types import AUDIO_PATCH, Demonstration, Message, Prompt


def planted(split: str | None, size: int = 4000, share: float = 0.3, silent: float = 0.0) -> Iterator[Prompt]:
    """Yield "which tones?" about three tones; a `share` has a letter that stands for the answer, as a slip of those who
    wrote the questions might, and `fields["planted"]`. A share `silent` of these has no sound, for a warm start that reads."""
    for prompt in sounds(split, kinds=["pattern"], size=size):
        random = Random(f"planted/{prompt.id}")
        is_planted = random.random() < share
        if is_planted:
            letter = "abcdefgh"[PATTERNS.index(str(prompt.answer))]
            text = f"{AUDIO_PATCH}which tones? {letter}"
            shown = Demonstration("it is said", str(prompt.answer))
            prompt = replace(prompt, messages=(Message("user", text),), demonstration=shown)
            if random.random() < silent:
                (prompt,) = silence([prompt])
        yield replace(prompt, fields={**prompt.fields, "planted": is_planted})
