"""Which prompts come next: every prompt once per epoch, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl.types import Prompt


class Curriculum:
    """An endless seeded stream over `prompts`. Its whole state is how many were drawn, so a resumed run goes on with
    the very next prompt, across epoch boundaries too."""

    def __init__(self, prompts: Sequence[Prompt], seed: int) -> None:
        self.prompts = prompts
        self.seed = seed
        self.drawn = 0

    def draw(self, count: int) -> list[Prompt]:
        """The next `count` prompts; across an epoch's end a prompt may come twice, but not twice in one draw as long
        as `count` is at most the number of prompts."""
        chosen: list[Prompt] = []
        seen: set[str] = set()
        while len(chosen) < count:
            epoch, position = divmod(self.drawn, len(self.prompts))
            prompt = self.prompts[self._order(epoch)[position]]
            self.drawn += 1
            if prompt.id not in seen or count > len(self.prompts):
                chosen.append(prompt)
                seen.add(prompt.id)
        return chosen

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch, self._permutation = (
                epoch,
                np.random.default_rng([self.seed, epoch]).permutation(len(self.prompts)),
            )
        return self._permutation
