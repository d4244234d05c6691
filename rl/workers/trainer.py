"""One rank of a trainer: a module under DeepSpeed in a Ray actor. Policy, critic and reference share this mechanism.

DeepSpeed owns sharding, reduction and clipping; the loop over micro-batches is ours. Two of its habits are switched
off because they make the gradient depend on how a batch was cut: dividing by accumulation steps, and clipping at 1.0
unasked. What is left is its mean over ranks, undone by `world` (see `TrainerWorker.optimise`).
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl.audio import waveform
from rl.config import ConfigError
from rl.types import Batch, Clip
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from models.load import ModelConfig

ENVIRONMENT = {"DS_ACCELERATOR": "cpu", "OMP_WAIT_POLICY": "PASSIVE", "DS_LOG_LEVEL": "warning"}
"""On CPU. Spinning OpenMP threads make a step six times slower when cores are shared."""

CLIPS_HEARD = 4096
"""Features of so many clips are kept at hand in each rank."""


@dataclass
class TrainerConfig:
    """How policy, critic and reference are trained; `deepspeed:` is merged into DeepSpeed's own config."""

    ranks: int = 1
    threads: int = 1
    """CPU threads of each rank."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    tokens_per_microbatch: int = 8192
    deepspeed: dict[str, Any] = field(default_factory=dict[str, Any])

    def validate(self, place: str) -> None:
        for name in ("ranks", "threads", "tokens_per_microbatch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class OptimiserStep:
    """One step's share of one rank. `rows` are all sequences of the step, over all ranks: the loss is normalised over
    them."""

    rows: Sequence[int]
    micro_batches: Sequence[Sequence[int]]
    learning_rate: float


class TrainerWorker:
    """Base of the Ray actors. A subclass says which module it trains and what it computes with it."""

    def __init__(self, rank: int, world: int, threads: int) -> None:
        import torch

        self.rank, self.world = rank, world
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(threads)
        self.engine: Any = None
        self.norm = float("nan")
        self.heard: dict[Any, Tensor] = {}

    def address(self) -> tuple[str, int]:
        """Where the other ranks find this one: (ip, free port)."""
        import socket

        import ray

        with socket.socket() as listener:
            listener.bind(("", 0))
            return ray.util.get_node_ip_address(), int(listener.getsockname()[1])

    def connect(self, host: str, port: int) -> None:
        """Joins the process group. Collective."""
        import deepspeed
        import torch.distributed as dist

        os.environ.update(
            MASTER_ADDR=host, MASTER_PORT=str(port), RANK=str(self.rank), WORLD_SIZE=str(self.world), LOCAL_RANK="0"
        )
        if self.device.type == "cpu":
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # compiles for minutes otherwise
        if not dist.is_initialized():
            deepspeed.init_distributed("nccl" if self.device.type == "cuda" else "gloo", verbose=False)

    def module(self, path: str, model: ModelConfig) -> Any:
        """The torch module this worker trains: `model` as it stands at `path`."""
        raise NotImplementedError

    def load(self, path: str, model: ModelConfig, trainer: TrainerConfig, optimizer: OptimizerConfig) -> None:
        """(Re)builds the engine around the model at `path`, with a fresh optimizer. Collective."""
        self.wrap(lambda: self.module(path, model), model.dtype, trainer, optimizer)

    def wrap(self, make: Callable[[], Any], dtype: str, trainer: TrainerConfig, optimizer: OptimizerConfig) -> None:
        """(Re)builds the engine around the module that `make` makes. Collective."""
        import deepspeed
        import torch

        self.heard = {}
        self.engine = None  # before the next one is made: both at once may not fit
        module = make().to(self.device)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        adam = torch.optim.AdamW(
            trained, lr=0.0, betas=optimizer.betas, weight_decay=optimizer.weight_decay, fused=False
        )
        settings = {
            "train_micro_batch_size_per_gpu": 1,
            "managed_gradient_accumulation": False,
            "gradient_clipping": optimizer.gradient_clipping,
            "zero_optimization": {"stage": trainer.zero_stage, "overlap_comm": False},
            "zero_allow_untested_optimizer": True,
        }
        if dtype == "bfloat16":
            # Left to itself DeepSpeed adds up micro-batches' gradients in bfloat16 and, without ZeRO, counts AdamW's
            # steps from 2. Stage 1 on one rank is what stage 0 should be.
            settings |= {"bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "fp32"}}
            settings["zero_optimization"] |= {"stage": max(1, trainer.zero_stage)}
        settings = _merged(settings, trainer.deepspeed)
        if not settings["zero_optimization"]["stage"]:
            limit, settings["gradient_clipping"] = settings["gradient_clipping"], 0.0
            adam.register_step_pre_hook(lambda *_: self._clip(module, limit))
        self.engine, *_ = deepspeed.initialize(model=module, optimizer=adam, config=settings, dist_init_required=False)

    def optimise(
        self,
        batch: Batch,
        steps: Sequence[OptimiserStep],
        loss: Callable[[Batch], tuple[Tensor, dict[str, Tensor]]],
        weights: Callable[[Tensor], Tensor],
        pairs: bool = False,
    ) -> list[dict[str, float]]:
        """Takes the optimiser steps; returns this rank's share of each step's metrics (they sum over ranks).

        `loss(micro_batch) -> (loss_A, diagnostics_A)`, one term for each action; `weights(actions_N of the whole step)`
        gives every action its share in the step's loss. The shares of all micro-batches of all ranks add up to the
        normalised loss, so the gradient is the same however the step was cut. Diagnostics are means over actions.

        With `pairs` the rows come two by two (chosen, rejected), the terms are one for each sequence (a pair's at both
        of its sequences), `weights` is asked with ones, and diagnostics are means over sequences."""
        import torch

        self.engine.train()
        counts_N = torch.ones_like(batch.lengths_N) if pairs else batch.actions_N
        reports = list[dict[str, float]]()
        for step in steps:
            actions_N = counts_N[list(step.rows)]
            shares = dict(zip(step.rows, weights(actions_N).split(actions_N.tolist()), strict=True))
            for group in self.engine.optimizer.param_groups:
                group["lr"] = step.learning_rate
            report: dict[str, Any] = defaultdict(float)  # tensors until the step is taken: reading one waits for it
            for rows in step.micro_batches:
                taken = rows or step.rows[: 1 + pairs]  # a rank without work walks along, weighing nothing
                loss_A, diagnostics = loss(batch.select(taken).to(self.device))
                weights_A = bool(rows) * torch.cat([shares[i] for i in taken]).to(self.device)
                scalar = (loss_A * weights_A).sum()
                self.engine.backward(scalar * self.world, scale_wrt_gas=False)
                report["loss"] += scalar.detach()
                for name, values_A in diagnostics.items():
                    report[name] += bool(rows) * values_A.detach().double().sum() / int(actions_N.sum())
            self.engine.step()
            reports.append({name: float(value) for name, value in report.items()} | {"grad_norm": self._norm()})
        return reports

    def forward(
        self, batch: Batch, micro_batches: Iterable[Sequence[int]], call: Callable[[Batch], Tensor]
    ) -> dict[int, Any]:
        """{row: what `call` says of its actions, [a] numpy} without gradients."""
        import torch

        self.engine.eval()
        answers: dict[int, Any] = {}
        with torch.no_grad():
            for rows in micro_batches:
                micro_batch = batch.select(rows or [0]).to(self.device)
                pieces = call(micro_batch).cpu().split(micro_batch.actions_N.tolist())
                answers.update({row: piece.numpy() for row, piece in zip(rows, pieces, strict=False)})
        return answers

    def sounds(self, batch: Batch) -> list[Tensor]:
        """Of the batch's clips, in order: features, from the handles that stand in their place (`rl.workers.audio_features`), or,
        where the clips themselves came, waves for an encoder that trains."""
        import ray
        import torch

        places = [place for places in batch.clips_N for place in places]
        if len(self.heard) > CLIPS_HEARD:
            self.heard.clear()
        waves = {clip: torch.tensor(waveform(clip)) for clip in dict.fromkeys(places) if isinstance(clip, Clip)}
        missing = [place for place in dict.fromkeys(places) if place not in waves and place not in self.heard]
        self.heard |= dict(zip(missing, ray.get(missing), strict=True))
        return [waves[place] if place in waves else self.heard[place] for place in places]

    def save_optimizer(self, folder: str) -> None:
        """This rank's shard of master weights and optimizer state, as safetensors."""
        from safetensors.torch import save_file

        state = {}
        for i, shard, moments in self._shards():
            tensors = {"weight": shard, **moments}
            state |= {f"{i}.{name}": value.detach().cpu().clone() for name, value in tensors.items()}
        save_file(state, self._optimizer_file(folder))

    def load_optimizer(self, folder: str) -> None:
        """Undoes `save_optimizer`; the model's weights were loaded before. Raises ValueError when the checkpoint was
        written by another number of ranks."""
        from safetensors.torch import load_file

        file = self._optimizer_file(folder)
        if not file.exists():
            raise ValueError(f"{folder}: no {file.name}; resume with the trainer.ranks that wrote this checkpoint")
        state: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, value in load_file(file).items():
            i, _, key = name.partition(".")
            state[i][key] = value
        for i, shard, moments in self._shards():
            saved = state.pop(str(i), {})
            if "weight" not in saved or saved["weight"].shape != shard.shape:
                raise ValueError(f"{file}: other shards than this trainer's; resume with the same trainer.zero_stage")
            shard.data.copy_(saved.pop("weight"))
            # AdamW counts its steps on the host
            moments |= {key: value.to(shard.device) if value.dim() else value for key, value in saved.items()}

    def _optimizer_file(self, folder: str) -> Path:
        return Path(folder) / f"optimizer-{self.rank}-of-{self.world}.safetensors"

    def _shards(self) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
        """(index, fp32 master weights, optimizer state) of what this rank updates, for every ZeRO stage."""
        optimizer = self.engine.optimizer
        shards = next(
            (getattr(optimizer, name) for name in _MASTER_SHARDS if hasattr(optimizer, name)),
            [p for group in optimizer.param_groups for p in group["params"]],
        )
        state = getattr(optimizer, "optimizer", optimizer).state
        yield from ((i, shard, state[shard]) for i, shard in enumerate(shards))

    def _clip(self, module: Any, limit: float) -> None:
        """What DeepSpeed does under ZeRO and leaves out without it: tells the norm, and takes no step on a gradient that
        is not finite."""
        from torch.nn.utils import clip_grad_norm_

        self.norm = float(clip_grad_norm_(module.parameters(), limit or math.inf))
        if not math.isfinite(self.norm):
            self.norm = math.inf
            module.zero_grad(set_to_none=True)

    def _norm(self) -> float:
        """This rank's share of the last step's gradient norm before clipping; inf where the step was not taken."""
        norm = self.engine.get_global_grad_norm()
        return float(self.norm if norm is None else norm) / self.world

    def _gathered(self) -> Iterator[tuple[str, Tensor]]:
        """(name, full parameter) one at a time. Collective under ZeRO-3."""
        import deepspeed

        for name, parameter in self.engine.module.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
                yield name, parameter.detach()
        if hasattr(self.engine.module, "frozen_parameters"):
            yield from self.engine.module.frozen_parameters()


_MASTER_SHARDS = ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition")
"""What DeepSpeed calls its master weights under ZeRO 3, under ZeRO 1 and 2, and under ZeRO 1 in bfloat16."""


def _merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(base[key], extra[key]) for key in base.keys() & extra.keys() if isinstance(base[key], dict)}
    return {**base, **extra, **both}
