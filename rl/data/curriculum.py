"""Which prompts come next: every prompt once per epoch, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np


class Named(Protocol):
    """A prompt, or a pair of answers to one."""

    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=Named)


class Curriculum(Generic[Item]):
    """An endless seeded stream over `prompts`. Its whole state is how many were drawn, so a resumed run goes on with
    the very next prompt, across epoch boundaries too.

    A prompt comes again after half the number of prompts at the earliest, so that a draw never holds it twice."""

    def __init__(self, prompts: Sequence[Item], seed: int) -> None:
        self.prompts = prompts
        self.seed = seed
        self.drawn = 0
        self._epoch, self._order = -1, np.arange(len(prompts))

    def draw(self, count: int) -> list[Item]:
        """The next `count` prompts. A draw of more than half of them that crosses an epoch's end passes over those it
        has already (they wait an epoch longer); only one of more than all repeats any."""
        chosen: list[Item] = []
        seen: set[str] = set()
        while len(chosen) < count:
            epoch, position = divmod(self.drawn, len(self.prompts))
            prompt = self.prompts[self._shuffled(epoch)[position]]
            self.drawn += 1
            if prompt.id not in seen or count > len(self.prompts):
                chosen.append(prompt)
                seen.add(prompt.id)
        return chosen

    def _shuffled(self, epoch: int) -> np.ndarray:
        """Indices of the epoch's prompts in order: at random in the first one, then in the order of the epoch before
        with every prompt put off by a random part of half an epoch."""
        if epoch < self._epoch:
            self._epoch = -1
        while self._epoch < epoch:
            self._epoch += 1
            count, random = len(self.prompts), np.random.default_rng([self.seed, self._epoch])
            if self._epoch == 0:
                self._order = random.permutation(count)
            else:
                self._order = self._order[np.argsort(np.arange(count) + random.random(count) * count / 2)]
        return self._order
