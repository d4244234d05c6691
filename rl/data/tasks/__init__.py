"""Lists the tasks that make their own prompts: `source: NAME` in a recipe, listed by `rl data list`.

A task is a function `(split, **args)` that yields prompts in a fixed order; None is all splits. The list shows the
first line of its docstring, and a recipe is checked against the annotations of its arguments. A task of your own needs
no entry here: `source: pkg.mod:fn` or `source: file.py:fn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rl.data.tasks import procedural, recordings, scenes, sounds, words
from rl.types import Prompt

TASKS: dict[str, Callable[..., Iterable[Prompt]]] = {
    "words": words.words,
    "reasoning_gym": procedural.procedural,
    "sounds": sounds.sounds,
    "scenes": scenes.scenes,
    "recordings": recordings.recordings,
}
"""Name of a source -> the task."""
COUNTS: dict[str, Callable[..., int]] = {
    "words": words.count,
    "reasoning_gym": procedural.count,
    "sounds": sounds.count,
    "scenes": scenes.count,
    "recordings": recordings.count,
}
"""Name of a task -> a function that counts its prompts within milliseconds, for `rl check`."""


def summary(task: Callable[..., object]) -> str:
    """Return the first line of the task's docstring."""
    return (task.__doc__ or "").strip().partition("\n")[0]
