"""The policy's rank: logprobs, updates, weights for the engines, export."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rl.types import Batch
from rl.workers.audio_worker import ListeningWorker
from rl.workers.cuda_cache import frees_cuda_cache
from rl.workers.trainer import OptimiserStep

if TYPE_CHECKING:
    from torch import Tensor

    from models.load import ModelConfig
    from rl.algorithms.objective import Objective
    from rl.algorithms.preference_losses import Preference

BUCKET_BYTES = 256 << 20


class PolicyWorker(ListeningWorker):
    """Ray actor; also serves as the frozen reference, which is a policy nobody updates."""

    def module(self, path: str, model: ModelConfig) -> Any:
        from models.heads import LogprobModel

        self.keep_tokenizer(path)
        self.lasting: list[dict[str, Any]] | None = None
        return LogprobModel(path, model.dtype, model.gradient_checkpointing, model.train_encoder)

    @frees_cuda_cache
    def logprobs(self, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float) -> dict[int, Any]:
        """{row: logprobs of its actions}."""
        return self.forward(batch, micro_batches, lambda b: self._answers(b, temperature)[0])

    @frees_cuda_cache
    def update(
        self,
        batch: Batch,
        steps: Sequence[OptimiserStep],
        objective: Objective,
        temperature: float,
        max_tokens: int,
    ) -> list[dict[str, float]]:
        """Policy-gradient (or imitation) steps on the objective; metrics per step."""
        from rl.algorithms.policy_losses import action_weights, policy_objective

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            logprobs_A, entropy_A = self._answers(micro_batch, temperature)
            loss_A, diagnostics = policy_objective(logprobs_A, entropy_A, micro_batch, objective)
            gap_A = (logprobs_A.detach() - micro_batch.rollout_logprobs_A).abs()
            return loss_A, {**diagnostics, "logprob_gap": gap_A}

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, objective.normalise, max_tokens))

    @frees_cuda_cache
    def update_pairs(
        self, batch: Batch, steps: Sequence[OptimiserStep], preference: Preference, temperature: float
    ) -> list[dict[str, float]]:
        """Preference steps; the batch holds chosen and rejected answers by turns, with the reference's logprobs."""
        from rl.algorithms.policy_losses import action_weights
        from rl.algorithms.preference_losses import preference_loss

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            logprobs_A, _ = self._answers(micro_batch, temperature)
            loss_P, said = preference_loss(logprobs_A, micro_batch.ref_A, micro_batch.actions_N, preference)
            return loss_P.repeat_interleave(2), {name: value_P.repeat_interleave(2) for name, value_P in said.items()}

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, "token_mean"), pairs=True)

    @frees_cuda_cache
    def weights(self) -> list[dict[str, Any]]:
        """The model's weights in Ray's object store, in buckets; the first rank's answer counts. Those of a frozen encoder
        are put there once, in buckets that an engine takes once (see `rollouts.weight_transfer`). Collective."""
        module = self.engine.module
        frozen = {name for name, _ in module.frozen_parameters()}
        trained = self._buckets((name, tensor) for name, tensor in self._gathered() if name not in frozen)
        if self.lasting is None:
            digest, buckets = self.encoder(), self._buckets(module.frozen_parameters())
            self.lasting = [{**bucket, "frozen": f"{digest}/{i}"} for i, bucket in enumerate(buckets)]
        return [*trained, *self.lasting]

    def _buckets(self, named: Iterable[tuple[str, Tensor]]) -> list[dict[str, Any]]:
        """The tensors in the store under the names that engines know; nothing on other ranks than the first."""
        import ray
        import torch

        from models.load import public_name

        buckets: list[dict[str, Any]] = []
        bucket: dict[str, Any] = {}
        for name, tensor in named:
            if self.rank:
                continue
            host = tensor.cpu()
            bucket[public_name(self.engine.module.lm, name.removeprefix("lm."))] = (
                host.view(torch.uint16) if host.dtype == torch.bfloat16 else host
            ).numpy()
            if sum(array.nbytes for array in bucket.values()) > BUCKET_BYTES:
                buckets.append({"tensors": ray.put(bucket)})
                bucket = {}
        return [*buckets, {"tensors": ray.put(bucket)}] if bucket else buckets

    def _answers(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        return self.engine(batch.tokens_T, batch.lengths_N, batch.action_mask_T, temperature, self.sounds(batch))
