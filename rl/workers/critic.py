"""One rank of a critic: values, and their regression to returns (PPO). A reward model is one that learns from
preferences instead.

Suffixes as in `rl.types`: N sequences, A the tokens of a batch that the policy wrote; P pairs (chosen, rejected).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rl.types import Batch
from rl.workers.audio_worker import AudioWorker
from rl.workers.batch_share import BatchShare
from rl.workers.freed_memory import frees_memory
from rl.workers.optimiser_step import OptimiserStep

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from models.settings import ModelConfig


class CriticWorker(AudioWorker):
    """Ray actor. Starts from a causal LM's trunk with a zero head, or from a folder that an earlier critic was saved
    to."""

    def module(self, path: str, config: ModelConfig, base: str) -> nn.Module:
        """Return the trunk of the model at `path`, or of the one at `base` with the adapter at `path`, with a head that gives
        values."""
        from models.heads import TRAINED_FILE, ValueModel

        trained = path if (Path(path) / TRAINED_FILE).is_file() else None
        options = config.gradient_checkpointing, config.lora, trained, self.shards
        return ValueModel(base if trained else path, config.dtype, *options)

    @frees_memory
    def values(self, batch: BatchShare, micro_batches: Sequence[Sequence[int]]) -> dict[int, np.ndarray]:
        """Return {row: value of the state before each of its actions}. Collective."""
        return self.forward(batch, micro_batches, self._forward, "values")

    @frees_memory
    def update(
        self, batch: BatchShare, steps: Sequence[OptimiserStep], value_clip: float | None
    ) -> list[dict[str, float]]:
        """Take steps towards `batch.returns_A`; return this rank's share of each one's metrics. Collective."""
        from rl.algorithms.policy_losses import action_weights
        from rl.algorithms.value_losses import value_loss

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            old_A, returns_A = micro_batch.values_A, micro_batch.returns_A
            loss_A, clipped_A = value_loss(self._forward(micro_batch), old_A, returns_A, value_clip)
            return loss_A, {"clipped": clipped_A}

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, "token_mean"))

    @frees_memory
    def update_pairs(self, batch: BatchShare, steps: Sequence[OptimiserStep]) -> list[dict[str, float]]:
        """Take Bradley–Terry steps; return this rank's share of each one's metrics. The batch holds chosen and
        rejected answers by turns, one action each. Collective."""
        from rl.algorithms.policy_losses import action_weights
        from rl.algorithms.preference_losses import bradley_terry, pair_accuracy

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            rewards_N = self._forward(micro_batch)  # one action a sequence: A is N
            margins_P = rewards_N[0::2] - rewards_N[1::2]
            diagnostics_P = {"margin": margins_P.detach(), "accuracy": pair_accuracy(margins_P)}
            # `optimise` wants a term for each sequence: a pair's stands at both of its two.
            diagnostics_N = {name: value_P.repeat_interleave(2) for name, value_P in diagnostics_P.items()}
            return bradley_terry(margins_P).repeat_interleave(2), diagnostics_N

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, "token_mean"), pairs=True)

    def export(self, folder: str) -> None:
        """Write config.json, trunk and head. Collective; the first rank writes."""
        import safetensors.torch

        from models.heads import CRITIC_FILE

        # Walked through on every rank: gathering is collective.
        state = {name: tensor.cpu().clone() for name, tensor in self.merged_parameters() if self.rank == 0}
        if self.rank == 0:
            self.deepspeed.module.save_config(folder)
            safetensors.torch.save_file(state, Path(folder) / CRITIC_FILE)

    def save_model(self, folder: str) -> None:
        """Write what a checkpoint holds of the model: adapter and head alone where these are what trains. Collective."""
        import safetensors.torch

        from models.heads import TRAINED_FILE

        if not self.lora:
            self.export(folder)
            return
        state = {name: tensor.cpu().clone() for name, tensor in self.trained_parameters() if self.rank == 0}
        if self.rank == 0:
            safetensors.torch.save_file(state, Path(folder) / TRAINED_FILE)

    def _forward(self, batch: Batch) -> Tensor:
        """Return values_A. The logprobs of demonstrations and pairs are 0, and so are their surprises."""
        clips, host = self.clip_tensors(batch), batch.host
        return self.deepspeed(
            host.tokens_T,
            host.lengths_N,
            host.action_mask_T,
            clips,
            logprobs_A=batch.rollout_logprobs_A,
            groups_N=host.groups_N,
        )
