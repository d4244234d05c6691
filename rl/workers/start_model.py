"""The reference of a stage that trains a LoRA adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.types import Batch
from rl.workers.roles import Future

if TYPE_CHECKING:
    from torch import Tensor

    from rl.workers.group import PolicyGroup
    from rl.workers.roles import Reference


class StartModel:
    """The model that a stage with an adapter started with: its policy with the adapter off. A reference that needs no memory."""

    def __init__(self, policy: PolicyGroup) -> None:
        self.policy, self.temperature = policy, 1.0

    def load(self, *_: object, **__: object) -> None:
        """Load nothing: the policy has loaded the model."""

    def logprobs(self, batch: Batch) -> Future[Tensor]:
        """Compute logprobs [A], in the order of the batch."""
        return self.policy.start_logprobs(batch, self.temperature)


if TYPE_CHECKING:
    _REFERENCE: type[Reference] = (
        StartModel  # pyright refuses the line where it lacks what the loop asks of a reference
    )
