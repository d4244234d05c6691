"""The ranks of a critic or of a reward model, as the driver sees them. Suffixes as in `rl.types`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rl.types import Batch
from rl.workers.answers import mean_of_steps
from rl.workers.group import TrainerGroup
from rl.workers.packing import plan_steps
from rl.workers.roles import Absent, Future, Report

if TYPE_CHECKING:
    from torch import Tensor

    from rl.workers.roles import Critic


class CriticGroup(TrainerGroup):
    """The ranks of a critic or of a reward model."""

    def values(self, batch: Batch) -> Future[Tensor]:
        """Compute values [A], in the order of the batch."""
        return self._forward("values", batch)

    def update(
        self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float], value_clip: float | None
    ) -> Future[Report]:
        """Take one optimiser step towards `batch.returns_A` on each entry of `steps`, at the learning rate beside it."""
        plans = plan_steps(batch, steps, rates, self.config, len(self.actors))
        return Future(self._call_steps("update", plans, batch, value_clip), mean_of_steps)

    def update_pairs(self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float]) -> Future[Report]:
        """Take Bradley–Terry steps on chosen and rejected answers by turns, one action each; a pair stays in one
        micro-batch."""
        plans = plan_steps(batch, steps, rates, self.config, len(self.actors), in_pairs=True)
        return Future(self._call_steps("update_pairs", plans, batch), mean_of_steps)


if TYPE_CHECKING:
    # pyright refuses the line where a class lacks what the loop asks of the role.
    _CRITICS: tuple[type[Critic], type[Critic]] = (CriticGroup, Absent)
