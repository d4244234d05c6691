"""Tasks that make their own prompts: `source: NAME` in a recipe, listed by `rl data list`.

A task is a function `(split, **args)` giving prompts in a fixed order, `split` being None for all of them. The first
line of its docstring is what the list shows; the annotations of its arguments are what a recipe is checked against.
One of your own needs no entry here: `source: pkg.mod:fn` or `source: file.py:fn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rl.data.tasks import procedural, recordings, sounds, words
from rl.types import Prompt

TASKS: dict[str, Callable[..., Iterable[Prompt]]] = {
    "words": words.words,
    "reasoning_gym": procedural.procedural,
    "sounds": sounds.sounds,
    "recordings": recordings.recordings,
}
COUNTS: dict[str, Callable[..., int]] = {
    "words": words.count,
    "reasoning_gym": procedural.count,
    "sounds": sounds.count,
    "recordings": recordings.count,
}
"""How many prompts a task makes, told within milliseconds for `rl check`."""


def summary(task: Callable[..., Any]) -> str:
    """The first line of the task's docstring."""
    return (task.__doc__ or "").strip().partition("\n")[0]
