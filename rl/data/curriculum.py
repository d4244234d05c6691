"""Draws prompts: every prompt once per epoch, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np


class HasId(Protocol):
    """An item of a curriculum: a prompt, or a pair of answers to one."""

    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=HasId)


class Curriculum(Generic[Item]):
    """An endless seeded stream over `prompts`. Its whole state is `position`, so a resumed run goes on with the very next
    prompt, across epoch boundaries too.

    A prompt comes again after half the number of prompts at the earliest, so that a draw of up to half of them never
    holds it twice."""

    def __init__(self, prompts: Sequence[Item], seed: int) -> None:
        self.prompts = prompts
        self.seed = seed
        self.distinct = len({prompt.id for prompt in prompts})
        """Number of different prompts."""
        self.position = 0
        """Number of prompts taken from the stream so far."""
        self._epoch, self._order = -1, np.arange(len(prompts))  # the order that was computed last, and its epoch

    def draw(self, count: int) -> list[Item]:
        """Return the next `count` prompts. A draw of more than half of them that crosses an epoch's end passes over those
        it has already (they wait an epoch longer); only one of more than all repeats any."""
        draw: list[Item] = []
        ids: set[str] = set()
        while len(draw) < count:
            epoch, index = divmod(self.position, len(self.prompts))
            prompt = self.prompts[self._epoch_order(epoch)[index]]
            self.position += 1
            # Samples are grouped by prompt id: a prompt drawn twice in a step would make one group of two.
            if prompt.id not in ids or count > self.distinct:
                draw.append(prompt)
                ids.add(prompt.id)
        return draw

    def observe(self, results: Mapping[str, Sequence[float]]) -> None:
        """Take no notice of the results: the order is the seed's alone."""

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """Return the indices of the epoch's prompts in order: at random in the first one, then in the order of the epoch
        before with every prompt delayed by a random part of half an epoch."""
        if epoch < self._epoch:  # an earlier position was restored: each order follows from the one before
            self._epoch = -1
        while self._epoch < epoch:
            self._epoch += 1
            count, random = len(self.prompts), np.random.default_rng([self.seed, self._epoch])
            if self._epoch == 0:
                self._order = random.permutation(count)
            else:
                # No prompt moves forward by more than half an epoch, which is the distance that the class promises.
                self._order = self._order[np.argsort(np.arange(count) + random.random(count) * count / 2)]
        return self._order
