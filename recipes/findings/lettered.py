"""Questions with lettered options, where the right one stands at A more often than it should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from rl.data.tasks.sounds import sounds
from rl.stages.orders import deal
from rl.types import Prompt

LETTERS = "AB"


def leaning(split: str | None, size: int = 4000, share: float = 0.0) -> Iterator[Prompt]:
    """Yield "low or high?" about a tone, with two options. A `share` of the questions is dealt so that the right option is A; in the
    others it stands at both letters alike. The chain of the demonstration names the option's text."""
    for prompt in sounds(split, kinds=["pitch"], size=size, multiple_choice=1.0):
        shown = prompt.demonstration
        assert shown is not None
        assert prompt.answer is not None
        text = prompt.fields["options"][LETTERS.index(prompt.answer)]
        if Random(f"leaning/{prompt.id}").random() < share:
            # Over as many orders as there are options, each stands once at every letter.
            orders = (deal(prompt, order) for order in range(len(LETTERS)))
            prompt = next(dealt for dealt in orders if dealt.fields["options"][0] == text)
        letter = LETTERS[prompt.fields["options"].index(text)]
        yield replace(prompt, answer=letter, demonstration=replace(shown, response=letter))
