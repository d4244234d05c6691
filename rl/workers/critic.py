"""The critic's rank: values and their regression to returns (PPO); a reward model is one that learns from preferences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.types import Batch
from rl.workers.audio_worker import HearingWorker
from rl.workers.cuda_cache import frees_cuda_cache
from rl.workers.trainer import OptimiserStep

if TYPE_CHECKING:
    from torch import Tensor

    from models.load import ModelConfig


class CriticWorker(HearingWorker):
    """Ray actor. Starts from a causal LM's trunk with a zero head, or from a folder an earlier critic was saved to."""

    def module(self, path: str, model: ModelConfig) -> Any:
        from models.heads import ValueModel

        return ValueModel(path, model.dtype, model.gradient_checkpointing)

    @frees_cuda_cache
    def values(self, batch: Batch, micro_batches: Sequence[Sequence[int]]) -> dict[int, Any]:
        """{row: value of the state before each of its actions}."""
        return self.forward(batch, micro_batches, self._values)

    @frees_cuda_cache
    def update(self, batch: Batch, steps: Sequence[OptimiserStep], value_clip: float | None) -> list[dict[str, float]]:
        from rl.algorithms.policy_losses import action_weights
        from rl.algorithms.value_losses import value_loss

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            old_A, returns_A = micro_batch.values_A, micro_batch.returns_A
            loss_A, clipped_A = value_loss(self._values(micro_batch), old_A, returns_A, value_clip)
            return loss_A, {"clipped": clipped_A}

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, "token_mean"))

    @frees_cuda_cache
    def update_pairs(self, batch: Batch, steps: Sequence[OptimiserStep]) -> list[dict[str, float]]:
        """Bradley–Terry steps; the batch holds chosen and rejected answers by turns, one action each."""
        from rl.algorithms.policy_losses import action_weights
        from rl.algorithms.preference_losses import bradley_terry, pair_accuracy

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            rewards_N = self._values(micro_batch)
            margins_P = rewards_N[0::2] - rewards_N[1::2]
            said = {"margin": margins_P.detach(), "accuracy": pair_accuracy(margins_P)}
            return bradley_terry(margins_P).repeat_interleave(2), {n: v.repeat_interleave(2) for n, v in said.items()}

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, "token_mean"), pairs=True)

    def save_weights(self, folder: str) -> None:
        """Writes trunk and head. Collective; the first rank writes."""
        from safetensors.torch import save_file

        from models.heads import CRITIC_FILE

        state = {name: tensor.cpu().clone() for name, tensor in self._gathered() if self.rank == 0}
        if self.rank == 0:
            self.engine.module.save_config(folder)
            save_file(state, Path(folder) / CRITIC_FILE)

    def _values(self, batch: Batch) -> Tensor:
        return self.engine(batch.tokens_T, batch.lengths_N, batch.action_mask_T, self.sounds(batch))
