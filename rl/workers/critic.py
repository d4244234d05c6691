"""The critic's rank: values and their regression to returns (PPO)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.run.files import disk_errors
from rl.types import Batch
from rl.workers.trainer import OptimiserStep, TrainerWorker

if TYPE_CHECKING:
    from torch import Tensor


class CriticWorker(TrainerWorker):
    """Ray actor. Starts from a causal LM's trunk with a zero head, or from a folder an earlier critic was saved to."""

    def module(self, path: str, dtype: str, gradient_checkpointing: bool) -> Any:
        from models.heads import ValueModel

        return ValueModel(path, dtype, gradient_checkpointing)  # type: ignore[arg-type]

    def values(self, batch: Batch, micro_batches: Sequence[Sequence[int]]) -> dict[int, Any]:
        """{row: value of the state before each of its actions}."""
        return self.forward(batch, micro_batches, self._values)

    def update(self, batch: Batch, steps: Sequence[OptimiserStep], value_clip: float | None) -> list[dict[str, float]]:
        from rl.algorithms.policy_losses import action_weights
        from rl.algorithms.value_losses import value_loss

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            old_A, returns_A = micro_batch.values_A, micro_batch.returns_A
            loss_A, clipped_A = value_loss(self._values(micro_batch), old_A, returns_A, value_clip)
            return loss_A, {"clipped": clipped_A}

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, "token_mean"))

    def save_weights(self, folder: str) -> None:
        """Writes trunk and head. Collective; the first rank writes."""
        from safetensors.torch import save_file

        from models.heads import CRITIC_FILE

        state = {name: tensor.cpu().clone() for name, tensor in self._gathered() if self.rank == 0}
        if self.rank == 0:
            self.engine.module.save_config(folder)
            with disk_errors():
                save_file(state, Path(folder) / CRITIC_FILE)

    def _values(self, batch: Batch) -> Tensor:
        return self.engine(batch.tokens_T, batch.lengths_N, batch.written_T, self.sounds(batch))
