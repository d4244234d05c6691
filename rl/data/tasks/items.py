"""Planned questions on recordings, before any sound is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from rl.data.rows import Row
from rl.data.tasks.corpora import Collection
from rl.data.tasks.questions import Question

TRIES = 500
"""Draws without a new question after which a kind is taken to have no further one."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question and the recordings of its clips."""

    question: Question
    clips: tuple[tuple[str, ...], ...]
    """Ids of the recordings of each clip."""
    total_s: float | None = None
    """Least length of a clip made of several recordings, s; None: each clip is one recording as it is."""


Planner = Callable[[Collection, Sequence[Row], int, Random], list[Item]]
"""A function of a collection, the rows of a split, the greatest number of items, and randomness, that returns items."""


def draw_distinct(size: int, draw: Callable[[int], Item | None]) -> list[Item]:
    """Return up to `size` items with different questions; `draw` makes the nth, or None where what it drew is unfit."""
    items: dict[str, Item] = {}
    failures = 0
    while len(items) < size and failures < TRIES:
        item = draw(len(items))
        if item is None or item.question.id in items:
            failures += 1
        else:
            items[item.question.id], failures = item, 0
    return list(items.values())
