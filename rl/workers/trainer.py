"""One rank of a trainer: a torch module under DeepSpeed in a Ray actor. Policy, critic and reference are subclasses.

DeepSpeed shards, reduces and clips; the loop over micro-batches is ours. It has two habits that would make the
gradient depend on how a batch was cut, and both are switched off: dividing by the number of micro-batches, and
clipping at 1.0 unless told otherwise. What remains is its mean over the ranks; `TrainerWorker.optimise` undoes that.

"Collective" in a docstring: every rank must make the call, or the others wait for ever. Suffixes as in `rl.types`:
N sequences of a batch, A the tokens of them that the policy wrote, end to end.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rl.audio import waveform
from rl.config import ConfigError
from rl.types import Batch, Clip
from rl.workers.optimizer import OptimizerConfig
from rl.workers.optimizer_state import read_optimizer, write_optimizer

if TYPE_CHECKING:
    import numpy as np
    from ray import ObjectRef
    from torch import Tensor, nn

    from models.load import ModelConfig

# Of an actor on CPU. Two OpenMP threads that spin on two busy cores make a step six times slower: let them sleep.
ENVIRONMENT = {"DS_ACCELERATOR": "cpu", "OMP_WAIT_POLICY": "PASSIVE", "DS_LOG_LEVEL": "warning"}

CACHED_CLIPS = 4096
"""Clips whose features a rank keeps at hand."""


@dataclass
class TrainerConfig:
    """Options that policy, critic and reference share as trainers."""

    ranks: int = 1
    threads: int = 1
    """CPU threads of each rank."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    tokens_per_microbatch: int = 8192
    deepspeed: dict[str, Any] = field(default_factory=dict[str, Any])
    """Merged into the config that DeepSpeed is given; its keys win."""

    def validate(self, place: str) -> None:
        """Raise ConfigError unless every count is at least 1."""
        for name in ("ranks", "threads", "tokens_per_microbatch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class OptimiserStep:
    """One rank's share of one optimiser step."""

    rows: Sequence[int]
    """Rows of the batch in this step, those of all ranks: the loss is normalised over them."""
    micro_batches: Sequence[Sequence[int]]
    """The rows that this rank computes, cut into micro-batches; an empty one keeps it in step with the others."""
    learning_rate: float


class TrainerWorker:
    """Base of the trainers' Ray actors. A subclass says which module it trains and what it computes with it."""

    def __init__(self, rank: int, world: int, threads: int) -> None:
        import torch

        self.rank, self.world = rank, world
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(threads)
        self.engine: Any = None  # a deepspeed.DeepSpeedEngine, which has no types
        self.norm = float("nan")
        self.clip_features: dict[ObjectRef[Tensor], Tensor] = {}

    def address(self) -> tuple[str, int]:
        """Return (IP address, free port) under which the other ranks find this one."""
        import socket

        import ray

        with socket.socket() as listener:
            listener.bind(("", 0))
            return cast("str", ray.util.get_node_ip_address()), int(listener.getsockname()[1])

    def connect(self, host: str, port: int) -> None:
        """Join the process group whose first rank is at `host`. Collective."""
        import deepspeed
        import torch.distributed as dist

        # LOCAL_RANK is 0 on every rank: an actor sees only its own GPU, as device 0.
        os.environ.update(
            MASTER_ADDR=host, MASTER_PORT=str(port), RANK=str(self.rank), WORLD_SIZE=str(self.world), LOCAL_RANK="0"
        )
        if self.device.type == "cpu":
            # Otherwise DeepSpeed compiles this extension for minutes, at every start.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        if not dist.is_initialized():
            deepspeed.init_distributed("nccl" if self.device.type == "cuda" else "gloo", verbose=False)

    def module(self, path: str, model: ModelConfig) -> nn.Module:
        """Return the module this worker trains, made of the `model` at `path`."""
        raise NotImplementedError

    def load(self, path: str, model: ModelConfig, trainer: TrainerConfig, optimizer: OptimizerConfig) -> None:
        """Build the engine anew around the model at `path`, with a fresh optimizer. Collective."""
        self.wrap(lambda: self.module(path, model), model.dtype, trainer, optimizer)

    def wrap(
        self, make: Callable[[], nn.Module], dtype: str, trainer: TrainerConfig, optimizer: OptimizerConfig
    ) -> None:
        """Build the engine anew around the module that `make` returns. Collective."""
        import deepspeed
        import torch

        self.clip_features = {}
        self.engine = None  # freed before the next one is made: both at once may not fit
        module = make().to(self.device)
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        # The learning rate comes with each step (`OptimiserStep`). Fused, AdamW would count its steps on the device;
        # `optimizer_state` reads that count back as a scalar on the host.
        adam = torch.optim.AdamW(
            parameters, lr=0.0, betas=optimizer.betas, weight_decay=optimizer.weight_decay, fused=False
        )
        settings = _engine_settings(dtype, trainer, optimizer)
        if not settings["zero_optimization"]["stage"]:
            # Without ZeRO DeepSpeed 0.19 reports no gradient norm in float32 (`get_global_grad_norm` is None): we
            # clip ourselves, just before the optimizer steps, and keep the norm.
            limit, settings["gradient_clipping"] = settings["gradient_clipping"], 0.0

            def clip(*_: object) -> None:
                self._clip(module, limit)

            adam.register_step_pre_hook(clip)
        self.engine, *_ = deepspeed.initialize(model=module, optimizer=adam, config=settings, dist_init_required=False)

    def optimise(
        self,
        batch: Batch,
        steps: Sequence[OptimiserStep],
        loss: Callable[[Batch], tuple[Tensor, dict[str, Tensor]]],
        weights: Callable[[Tensor], Tensor],
        pairs: bool = False,
    ) -> list[dict[str, float]]:
        """Take the optimiser steps and return this rank's share of each one's metrics; shares sum over the ranks.

        `loss(micro_batch)` returns (loss_A, diagnostics_A), a term for each action. `weights(actions_N)`, for the
        number of actions of every sequence of the step, returns what each of those actions weighs in the step's loss:
        the weights carry the normalisation (by tokens, by sequences, …). So the weighted terms of all micro-batches
        of all ranks add up to the step's loss, and the gradient is the same however the step was cut. Diagnostics are
        means over the step's actions.

        With `pairs` rows come two by two (chosen, rejected) and a sequence counts as one action: `loss` returns one
        term per sequence, a pair's at both of its sequences, and diagnostics are means over sequences. Collective."""
        import torch

        self.engine.train()
        counts_N = torch.ones_like(batch.lengths_N) if pairs else batch.actions_N
        reports: list[dict[str, float]] = []
        for step in steps:
            actions_N = counts_N[list(step.rows)]
            # Row → weights of its actions, from the counts of the whole step: a rank alone could not normalise.
            weights_by_row = dict(zip(step.rows, _split(weights(actions_N), actions_N), strict=True))
            for group in self.engine.optimizer.param_groups:
                group["lr"] = step.learning_rate
            # Sums stay tensors until the step is taken: reading one would wait for the GPU at every micro-batch.
            report: dict[str, Any] = defaultdict(float)
            for rows in step.micro_batches:
                # Every rank runs equally many forwards and backwards, for ZeRO gathers and reduces in each: a rank
                # without rows computes the step's first sequence (or pair) as a dummy, with weight 0.
                has_rows = bool(rows)
                rows_or_dummy = rows if has_rows else step.rows[: 2 if pairs else 1]
                loss_A, diagnostics = loss(batch.select(rows_or_dummy).to(self.device))
                weights_A = has_rows * torch.cat([weights_by_row[row] for row in rows_or_dummy]).to(self.device)
                scalar = (loss_A * weights_A).sum()
                # DeepSpeed averages gradients over ranks, and ours are to be added up: hence `* world`. With its default
                # scale_wrt_gas it would also divide by accumulation steps: 83 % error with unequal micro-batches.
                self.engine.backward(scalar * self.world, scale_wrt_gas=False)
                report["loss"] += scalar.detach()
                for name, values_A in diagnostics.items():
                    # In double, so that the sum hardly depends on how the step was cut.
                    report[name] += has_rows * values_A.detach().double().sum() / int(actions_N.sum())
            self.engine.step()
            reports.append({name: float(value) for name, value in report.items()} | {"grad_norm": self._norm()})
        return reports

    def forward(
        self, batch: Batch, micro_batches: Iterable[Sequence[int]], compute: Callable[[Batch], Tensor]
    ) -> dict[int, np.ndarray]:
        """Return {row: what `compute(micro_batch)` [A] says of its actions}, without gradients. Collective."""
        import torch

        self.engine.eval()
        answers: dict[int, np.ndarray] = {}
        with torch.no_grad():
            for rows in micro_batches:
                # A rank without rows computes row 0 beside the others (see `optimise`); zip then drops the answer.
                micro_batch = batch.select(rows or [0]).to(self.device)
                pieces = _split(compute(micro_batch).cpu(), micro_batch.actions_N)
                answers.update({row: piece.numpy() for row, piece in zip(rows, pieces, strict=False)})
        return answers

    def clip_tensors(self, batch: Batch) -> list[Tensor]:
        """Return a tensor for each clip of the batch, in order: encoder features [P, D] where their handles stand in
        the clips' places (see `rl.workers.audio_features`), or waves [S] of the clips, for an encoder that trains."""
        import ray
        import torch

        places: list[Any] = [place for places in batch.clips_N for place in places]
        if len(self.clip_features) > CACHED_CLIPS:
            self.clip_features.clear()
        distinct = dict.fromkeys(places)  # the samples of a group share their clips
        waves = {place: torch.tensor(waveform(place)) for place in distinct if isinstance(place, Clip)}
        missing = [place for place in distinct if place not in waves and place not in self.clip_features]
        self.clip_features |= dict(zip(missing, ray.get(missing), strict=True))
        return [waves[place] if place in waves else self.clip_features[place] for place in places]

    def save_optimizer(self, folder: str) -> None:
        """Write this rank's share of master weights and optimizer state, as safetensors."""
        write_optimizer(self.engine.optimizer, self._optimizer_file(folder))

    def load_optimizer(self, folder: str) -> None:
        """Read back what `save_optimizer` wrote, after the model's weights. Raises ValueError when another number of
        ranks or another ZeRO stage wrote it."""
        read_optimizer(self.engine.optimizer, self._optimizer_file(folder))

    def _optimizer_file(self, folder: str) -> Path:
        return Path(folder) / f"optimizer-{self.rank}-of-{self.world}.safetensors"

    def _clip(self, module: nn.Module, limit: float) -> None:
        """Clip the gradient to the norm `limit` (0: not at all) and keep the norm it had, for `_norm`."""
        from torch.nn.utils import clip_grad_norm_

        self.norm = float(clip_grad_norm_(module.parameters(), limit or math.inf))
        if not math.isfinite(self.norm):
            # As DeepSpeed does under ZeRO: AdamW skips parameters without a gradient, so no step is taken.
            self.norm = math.inf
            module.zero_grad(set_to_none=True)

    def _norm(self) -> float:
        """Return this rank's share of the last step's gradient norm before clipping; inf if no step was taken."""
        norm = self.engine.get_global_grad_norm()
        # Every rank knows the whole norm, and the group adds up what the ranks report.
        return float(self.norm if norm is None else norm) / self.world

    def _named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, whole parameter), one at a time, the frozen ones last. Collective under ZeRO-3."""
        import deepspeed

        for name, parameter in self.engine.module.named_parameters():
            # ZeRO-3 marks its shards with `ds_id`; gathering one at a time needs memory for one.
            with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
                yield name, parameter.detach()
        if hasattr(self.engine.module, "frozen_parameters"):
            yield from self.engine.module.frozen_parameters()


def _split(values_A: Tensor, actions_N: Tensor) -> tuple[Tensor, ...]:
    """Return each sequence's part of `values_A`."""
    return cast("tuple[Tensor, ...]", values_A.split(actions_N.tolist()))  # torch leaves both untyped


def _engine_settings(dtype: str, trainer: TrainerConfig, optimizer: OptimizerConfig) -> dict[str, Any]:
    """Return the config that DeepSpeed is given, with the recipe's own `deepspeed:` merged in last."""
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # it wants a number; batches are ragged, and it never counts them
        "managed_gradient_accumulation": False,  # `optimise` says when a step is due
        "gradient_clipping": optimizer.gradient_clipping,  # explicit, or DeepSpeed clips at 1.0: 14 % gradient error
        "zero_optimization": {"stage": trainer.zero_stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,  # torch's AdamW is one
    }
    if dtype == "bfloat16":
        # Left to itself DeepSpeed adds up micro-batches' gradients in bfloat16 and, without ZeRO, counts AdamW's
        # steps from 2. Stage 1 on one rank is what stage 0 should be.
        settings |= {"bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "fp32"}}
        settings["zero_optimization"]["stage"] = max(1, trainer.zero_stage)
    return _merge(settings, trainer.deepspeed)


def _merge(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `extra` over it, mappings merged key by key."""
    submappings = {
        key: _merge(base[key], extra[key]) for key in base.keys() & extra.keys() if isinstance(base[key], dict)
    }
    return {**base, **extra, **submappings}
