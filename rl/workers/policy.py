"""The policy's rank: logprobs, updates, weights for the engines, export."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.types import Batch
from rl.workers.trainer import OptimiserStep, TrainerWorker

if TYPE_CHECKING:
    from torch import Tensor

    from rl.algorithms.objective import Objective

BUCKET_BYTES = 256 << 20


class PolicyWorker(TrainerWorker):
    """Ray actor; also serves as the frozen reference, which is a policy nobody updates."""

    def module(self, path: str, dtype: str, gradient_checkpointing: bool) -> Any:
        from models.heads import LogprobModel

        self.path = path
        return LogprobModel(path, dtype, gradient_checkpointing)  # type: ignore[arg-type]

    def logprobs(self, batch: Batch, micro_batches: Sequence[Sequence[int]], temperature: float) -> dict[int, Any]:
        """{row: logprobs of its actions}."""
        return self.forward(batch, micro_batches, lambda b: self._answers(b, temperature)[0])

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
            micro_batch = micro_batch.to(self.device)
            loss_A, diagnostics = policy_objective(logprobs_A, entropy_A, micro_batch, objective)
            gap_A = (logprobs_A.detach() - micro_batch.rollout_logprobs_A).abs()
            return loss_A, {**diagnostics, "logprob_gap": gap_A}

        return self.optimise(batch, steps, loss, lambda n: action_weights(n, objective.normalise, max_tokens))

    def weights(self) -> list[dict[str, Any]]:
        """The model's weights in Ray's object store, in buckets; the first rank's answer counts. Collective."""
        import ray
        import torch

        buckets: list[dict[str, Any]] = []
        bucket: dict[str, Any] = {}
        bfloat16 = False
        for name, tensor in self._gathered():
            if self.rank:
                continue
            bfloat16 = tensor.dtype == torch.bfloat16
            host = tensor.cpu()
            bucket[name.removeprefix("lm.")] = (host.view(torch.uint16) if bfloat16 else host).numpy()
            if sum(array.nbytes for array in bucket.values()) > BUCKET_BYTES:
                buckets.append({"tensors": ray.put(bucket), "bfloat16": bfloat16})
                bucket = {}
        if bucket:
            buckets.append({"tensors": ray.put(bucket), "bfloat16": bfloat16})
        return buckets

    def export(self, folder: str) -> None:
        """Writes a Hugging Face model folder, tokenizer included. Collective; the first rank writes."""
        state = {name.removeprefix("lm."): tensor.cpu().clone() for name, tensor in self._gathered()}
        if self.rank:
            return
        self.engine.module.lm.save_pretrained(folder, state_dict=state)
        for file in Path(self.path).iterdir():
            if file.name.startswith(
                ("tokenizer", "special_tokens", "chat_template", "vocab", "merges", "added_tokens")
            ):
                shutil.copy(file, Path(folder) / file.name)

    def _answers(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        return self.engine(
            batch.tokens_T.to(self.device),
            batch.lengths_N.to(self.device),
            batch.written_T.to(self.device),
            temperature,
        )
