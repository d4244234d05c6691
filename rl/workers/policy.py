"""One rank of the policy: logprobs, updates, weights for the engines, export.

Suffixes as in `rl.types`: A, the tokens of a batch that the policy wrote; P, its pairs (chosen, rejected).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rl.types import Batch
from rl.workers.answers import max_or_nan
from rl.workers.audio_worker import LanguageModelWorker
from rl.workers.batch_share import BatchShare
from rl.workers.freed_memory import frees_memory
from rl.workers.optimiser_step import OptimiserStep
from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer_config import TrainerConfig

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from models.heads import LogprobModel
    from models.lora import LoraConfig
    from models.settings import ModelConfig
    from rl.algorithms.objective import Objective
    from rl.algorithms.preference_losses import Preference
    from rollouts.arrival import Checksum
    from rollouts.links import Links
    from rollouts.stream import Sender
    from rollouts.transport import Stream
    from rollouts.weights import WeightBucket

FAR = 1.0
"""Gap, in nats, from which on a token counts as one on which engine and trainer do not agree at all."""
BUCKET_BYTES = 256 << 20
"""Size from which a bucket of weights is sent off: engine and trainer hold copies of one at a time."""


class PolicyWorker(LanguageModelWorker):
    """Ray actor of the policy; also of the frozen reference, which is a policy that nobody updates."""

    links: Links | None = None
    """Connections of the streams of weights."""
    last_sender: Sender | None = None

    def module(self, path: str, config: ModelConfig, base: str) -> LogprobModel:
        """Return the language model at `path`, or the one at `base` with the adapter at `path`, with a head that gives
        logprobs."""
        from models.heads import LogprobModel
        from models.lora import has_adapter

        adapter = path if has_adapter(path) else None
        start = base if adapter else path
        self.keep_tokenizer(start, config.thinks)
        self.dtype = config.dtype
        # Those of the model before are void: the next `weights` puts this one's into the store.
        self.frozen_buckets: list[WeightBucket] | None = None
        self.frozen_checksums: dict[str, Checksum] = {}
        options = config.gradient_checkpointing, config.train_encoder, config.lora
        model = LogprobModel(start, config.dtype, *options, adapter, self.shards)
        return model.train_adapter_only() if self.adapter_only else model

    def load(
        self,
        path: str,
        config: ModelConfig,
        trainer: TrainerConfig,
        optimizer: OptimizerConfig,
        base: str = "",
        adapter_only: bool = False,
    ) -> None:
        """Build the DeepSpeed engine anew around the model folder `path`, with a fresh optimizer, of the audio adapter's
        weights alone if `adapter_only`. Collective."""
        self.adapter_only = adapter_only
        super().load(path, replace(config, lora=None) if adapter_only else config, trainer, optimizer, base)

    @frees_memory
    def logprobs(
        self, batch: BatchShare, micro_batches: Sequence[Sequence[int]], temperature: float
    ) -> dict[int, np.ndarray]:
        """Return {row: logprobs of its actions}. Collective."""
        return self.forward(
            batch, micro_batches, lambda micro_batch: self._forward(micro_batch, temperature)[0], "logprobs"
        )

    @frees_memory
    def start_logprobs(
        self, batch: BatchShare, micro_batches: Sequence[Sequence[int]], temperature: float
    ) -> dict[int, np.ndarray]:
        """Return {row: logprobs of its actions} under the model that the stage started with, which is this one with its
        adapter off. Collective."""
        with self.deepspeed.module.start_model():
            return self.logprobs(batch, micro_batches, temperature)

    @frees_memory
    def update(
        self,
        batch: BatchShare,
        steps: Sequence[OptimiserStep],
        objective: Objective,
        temperature: float,
        max_tokens: int,
        max_gap: float = math.inf,
    ) -> list[dict[str, float]]:
        """Take policy-gradient (or imitation) steps on the objective; return this rank's share of each one's metrics. None is
        taken where the mean gap between engine and trainer is above `max_gap`. Collective."""
        from rl.algorithms.policy_losses import action_weights, policy_objective

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            logprobs_A, entropy_A = self._forward(micro_batch, temperature)
            loss_A, diagnostics = policy_objective(logprobs_A, entropy_A, micro_batch, objective)
            # Between trainer and engine: 0 but for rounding, on the tokens that this very version wrote.
            on_policy_A = (micro_batch.versions_A == micro_batch.version).float()
            gap_A = (logprobs_A.detach() - micro_batch.rollout_logprobs_A).abs() * on_policy_A
            largest.append(gap_A.max())
            diagnostics |= {"logprob_gap": gap_A, "on_policy": on_policy_A}
            return loss_A, {**diagnostics, "logprob_gap/far": (gap_A > FAR).float()}

        def is_wide(report: Mapping[str, float]) -> bool:
            # With `old` the driver has looked before, and from the second step on the policy is rightly another one. Strictly
            # more than the driver's sum, which rounds otherwise: what is held back here stops the run there. A NaN goes on.
            return (
                not batch.has("old")
                and max_gap < math.inf
                and self._sum_over_ranks(report["logprob_gap"] - max_gap * report["on_policy"]) > 1e-9
            )

        largest: list[Tensor] = []
        weights = partial(action_weights, normalise=objective.normalise, constant=max_tokens)
        reports = self.optimise(batch, steps, loss, weights, holds_back=is_wide)
        largest_gap = max_or_nan([float(gap) for gap in largest])
        return [{**report, "logprob_gap/max": largest_gap} for report in reports]

    @frees_memory
    def update_pairs(
        self, batch: BatchShare, steps: Sequence[OptimiserStep], preference: Preference, temperature: float
    ) -> list[dict[str, float]]:
        """Take preference steps (DPO, IPO); return this rank's share of each one's metrics. The batch holds chosen and
        rejected answers by turns, with the reference's logprobs. Collective."""
        from rl.algorithms.policy_losses import action_weights
        from rl.algorithms.preference_losses import preference_loss

        def loss(micro_batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            logprobs_A, _ = self._forward(micro_batch, temperature)
            loss_P, diagnostics_P = preference_loss(logprobs_A, micro_batch.ref_A, micro_batch.actions_N, preference)
            # `optimise` wants a term for each sequence: a pair's stands at both of its two.
            diagnostics_N = {name: value_P.repeat_interleave(2) for name, value_P in diagnostics_P.items()}
            return loss_P.repeat_interleave(2), diagnostics_N

        # A sequence counts as one action: the mean "over tokens" is one over pairs, each of which stands there twice.
        return self.optimise(batch, steps, loss, lambda n: action_weights(n, "token_mean"), pairs=True)

    def open_store(self) -> tuple[str, int]:
        """Open the store through which this rank, the first one, and engines talk of streams; return its address."""
        return self.rendezvous.open_store()

    @frees_memory
    def send_weights(self, stream: Stream, receivers: int) -> tuple[dict[str, Checksum], float]:
        """Stream the model's weights to the engines that wait for them, `receivers` of whose workers read this rank's memory.
        Return their checksums, and the seconds that these took, on the first rank. Collective."""
        from models.load import public_weights
        from rollouts.links import Links
        from rollouts.stream import Sender

        if self.links is None:
            self.links = Links()
        if self.last_sender is not None:
            self.last_sender.forget()  # every engine is through with the stream before
        module = self.deepspeed.module
        self.last_sender = Sender(self.links, stream, self.rank, receivers, self.device)
        public = (
            part
            for name, tensor in self._named_parameters()
            for part in public_weights(module.lm, name.removeprefix("lm."), tensor)
        )
        return self.last_sender.send(public)

    @frees_memory
    def weights(self) -> tuple[list[WeightBucket], dict[str, Checksum], float]:
        """Put the model's weights into Ray's object store and return handles of them, in buckets, their checksums, and
        the seconds that the sums took; only the first rank has any to return. Collective."""
        if self.lora:
            return self._adapted_weights(self.lora)
        module = self.deepspeed.module
        frozen = {name for name, _ in module.frozen_parameters()}
        self.checksum_s = 0.0
        checksums: dict[str, Checksum] = {}
        # `_named_parameters` yields a frozen encoder's too, which go by buckets of their own.
        trained = ((name, tensor) for name, tensor in self._named_parameters() if name not in frozen)
        buckets = self._buckets(trained, checksums)
        if self.frozen_buckets is None:
            # A frozen encoder is put there once. An engine takes a bucket of one name only once, too: the name has
            # the weights' digest in it (see `rollouts.weight_transfer`).
            digest = self.encoder_digest()
            self.frozen_buckets = self._buckets(module.frozen_parameters(), self.frozen_checksums)
            for i, bucket in enumerate(self.frozen_buckets):
                bucket["frozen"] = f"{digest}/{i}"
        return [*buckets, *self.frozen_buckets], checksums | self.frozen_checksums, self.checksum_s

    def _adapted_weights(self, lora: LoraConfig) -> tuple[list[WeightBucket], dict[str, Checksum], float]:
        """Return `weights` of a frozen model with an adapter. What no update changes is put into the object store once."""
        from models import lora as adapters

        module = self.deepspeed.module
        self.checksum_s = 0.0
        checksums: dict[str, Checksum] = {}
        if lora.engines_merge(self.dtype):
            changing = adapters.changes(module)
            merged = adapters.merged_parameters(self._named_parameters(changing), lora.scale)
            buckets = self._buckets(merged, checksums)
        else:
            changing = adapters.trained_names(module).__contains__
            parts = ((adapters.adapter_name(name), part) for name, part in self._named_parameters(adapters.is_adapter))
            buckets = self._buckets(parts, checksums, prefix=adapters.PREFIX)
            for bucket in buckets:
                bucket["adapter"] = adapters.adapter_config(module.lm, whole=False)
            # An audio adapter, which trains whole, is no low-rank one to the engine.
            whole = self._named_parameters(lambda name: changing(name) and not adapters.is_adapter(name))
            buckets += self._buckets(whole, checksums)
        if self.frozen_buckets is None:
            frozen = adapters.base_parameters(self._named_parameters(lambda name: not changing(name)))
            digest = hashlib.blake2b(digest_size=16)
            # Other ranks only walk along: they have no bucket to name.
            frozen = _digested(frozen, digest) if self.rank == 0 else frozen
            self.frozen_buckets = self._buckets(frozen, self.frozen_checksums)
            for i, bucket in enumerate(self.frozen_buckets):
                bucket["frozen"] = f"{digest.hexdigest()}/{i}"
        return [*self.frozen_buckets, *buckets], checksums | self.frozen_checksums, self.checksum_s

    def _buckets(
        self, parameters: Iterable[tuple[str, Tensor]], checksums: dict[str, Checksum], prefix: str = ""
    ) -> list[WeightBucket]:
        """Put (name, tensor) pairs into the object store under the names that engines know, `prefix` before each, and note
        their checksums; on other ranks than the first only walk through them, since gathering them is collective."""
        import ray
        import torch

        from models.load import public_weights
        from rollouts.arrival import checksum

        buckets: list[WeightBucket] = []
        arrays: dict[str, np.ndarray] = {}
        for name, tensor in parameters:
            if self.rank:
                continue
            for public, part in public_weights(self.deepspeed.module.lm, name.removeprefix("lm."), tensor):
                host = _to_host(part)
                start = time.monotonic()
                public = prefix + public
                checksums[public] = checksum(host)
                self.checksum_s += time.monotonic() - start
                if host.dtype == torch.bfloat16:
                    host = host.view(torch.uint16)  # numpy has no bfloat16: its bits travel
                arrays[public] = host.numpy()
            if sum(array.nbytes for array in arrays.values()) > BUCKET_BYTES:
                buckets.append({"tensors": ray.put(arrays)})
                arrays = {}
        if arrays:
            buckets.append({"tensors": ray.put(arrays)})
        return buckets

    def _forward(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """Return (logprobs_A, entropy_A)."""
        clips, host = self.clip_tensors(batch), batch.host
        # Through the DeepSpeed engine: under ZeRO-3 the head's weight is empty outside the wrapped module's forward.
        return self.deepspeed(
            host.tokens_T, host.lengths_N, host.action_mask_T, temperature, clips, groups_N=host.groups_N
        )


def _to_host(tensor: Tensor) -> Tensor:
    """Return a copy in host memory, or the tensor where it is there already. From a GPU through pinned memory, which torch
    keeps for the next one: several times as fast as into fresh pages."""
    import torch

    if tensor.device.type == "cpu":
        return tensor.contiguous()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor)


def _digested(parameters: Iterable[tuple[str, Tensor]], digest: hashlib.blake2b) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters, having fed their names and bytes to `digest`."""
    import torch

    for name, tensor in parameters:
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        yield name, tensor
