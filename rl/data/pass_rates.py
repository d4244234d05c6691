"""Draws prompts by how often they were answered right of late: those that are sometimes right teach most.

The drawing depends on the seed and on the results that it was told of, and its whole state is saved with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic

import numpy as np

from rl.data.curriculum import Item

FLOOR = 0.1
"""Least weight of a prompt, of at most 1: one that is always or never right comes back now and then, for it may have changed."""
MEMORY = 0.5
"""Weight of what was known of a prompt's rate beside the newest results, each time there are some."""

Rates = dict[str, list[float]]
"""{prompt's id: [samples that were right, samples], the older ones weighed less}."""


class PassRates(Generic[Item]):
    """An endless seeded stream over `prompts`, each drawn with the weight `weight` of its recent pass rate. A prompt that was
    drawn is not drawn again before its result is known."""

    def __init__(self, prompts: Sequence[Item], seed: int) -> None:
        self.prompts = prompts
        self.ids = {prompt.id for prompt in prompts}
        self.seed = seed
        self.position = 0
        """Number of prompts asked for so far."""
        self.rates: Rates = {}
        self.waiting: set[str] = set()
        """Ids of prompts that are drawn and of which no result is known yet."""

    def draw(self, count: int) -> list[Item]:
        """Return `count` different prompts, or fewer where all others wait for their result."""
        free = [prompt for prompt in self.prompts if prompt.id not in self.waiting]
        # Of the draw's own stream of random numbers, so that a resumed run needs no more than the position.
        random = np.random.default_rng([self.seed, self.position]).random(len(free))
        weights = np.ones(len(free))
        for i, prompt in enumerate(free):
            if prompt.id in self.rates:  # few of many prompts, as a rule
                weights[i] = self.weight(prompt.id)
        # The largest of u^(1/w) are a weighted draw without replacement (Efraimidis and Spirakis 2006); in logs, since
        # small powers would all round to 0 or 1, and with 1e-300 since u itself may be 0.
        order = np.argsort(-(np.log(random + 1e-300) / weights), kind="stable")[:count]
        draw = [free[i] for i in order]
        # By what was asked for, even where fewer are free: it seeds the next draw, which must not repeat this one.
        self.position += count
        self.waiting |= {prompt.id for prompt in draw}
        return draw

    def weight(self, id: str) -> float:
        """Return the weight of a prompt: 1 at a pass rate of a half, where a group's scores differ most, and of one that was
        never tried; `FLOOR` at 0 and at 1."""
        right, tried = self.rates.get(id, (0.0, 0.0))
        rate = right / tried if tried else 0.5
        return FLOOR + (1 - FLOOR) * 4 * rate * (1 - rate)

    def observe(self, results: Mapping[str, Sequence[float]]) -> None:
        """Take in what the samples of drawn prompts earned, each from 0 to 1; of a prompt without any nothing is learned, nor of
        another source's."""
        for id, successes in results.items():
            self.waiting.discard(id)
            if successes and id in self.ids:
                right, tried = self.rates.get(id, (0.0, 0.0))
                bounded = [min(max(success, 0.0), 1.0) for success in successes]
                self.rates[id] = [MEMORY * right + sum(bounded), MEMORY * tried + len(bounded)]
