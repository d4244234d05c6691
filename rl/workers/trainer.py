"""One rank of a trainer: a torch module under DeepSpeed in a Ray actor. Policy, critic and reference are subclasses.

DeepSpeed shards, reduces and clips the gradient; the loop over micro-batches is ours. Two of DeepSpeed's defaults are
switched off, since they would make the gradient depend on how a batch was cut or change it unasked: dividing by the
number of micro-batches, and clipping at 1.0. `TrainerConfig.validate` refuses the options that would switch them on
again. What remains is DeepSpeed's mean over the ranks; `TrainerWorker.optimise` undoes that.

"Collective" in a docstring: every rank must make the call, or the others wait for ever. Suffixes as in `rl.types`:
N sequences of a batch, A the tokens of them that the policy wrote, end to end.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.algorithms.ratios import PER_SEQUENCE
from rl.config import Values
from rl.finite import NonFiniteError
from rl.types import Batch
from rl.workers.adamw import build_adamw
from rl.workers.batch_share import FORWARD_DUMMY, BatchShare
from rl.workers.clipping import Clipping
from rl.workers.deepspeed_settings import deepspeed_settings
from rl.workers.diagnosis import Compute, Losses, check_answers, check_weights, explain_step
from rl.workers.freed_memory import frees_memory
from rl.workers.offload import Offload, brings_states_back
from rl.workers.optimiser_step import OptimiserStep
from rl.workers.optimizer import OptimizerConfig
from rl.workers.optimizer_state import optimizer_file, read_optimizer, write_optimizer
from rl.workers.sequence_groups import Keeper, activations_keeper, share_sequences, split_by_sequence
from rl.workers.trainer_config import TrainerConfig
from rl.workers.zero_shards import ZeroShards, whole_parameters

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from models.settings import ModelConfig

# PASSIVE: idle OpenMP threads sleep instead of spinning, which on two busy cores makes a step six times slower.
ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "OMP_WAIT_POLICY": "PASSIVE",
    "DS_LOG_LEVEL": "warning",
    # Tensors of 4 MiB and more go back to the machine when they are freed. glibc would raise its threshold to the largest it
    # saw: micro-batches of ever other lengths then leave holes in the heap, and the process grows.
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    # torch asks for large tensors in pages of 2 MiB, where the machine has them: in pages of 4 KiB, giving that memory back and
    # asking for it again is a tenth of an update's time.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""Environment of a trainer's actor on CPU."""
# On a GPU, memory given back serves any size. A buffer that another process is to open (CUDA IPC) is allocated with it off.
GPU_ENVIRONMENT = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "DS_LOG_LEVEL": "warning"}


Loss = Callable[[Batch], tuple["Tensor", dict[str, "Tensor"]]]
"""Function of a micro-batch -> (loss_A, diagnostics_A)."""


class TrainerWorker:
    """Base of the trainers' Ray actors. A subclass says which module it trains and what it computes with it."""

    def __init__(self, rank: int, world: int, threads: int, shares_gpu: bool = False) -> None:
        """`shares_gpu`: an engine or another trainer is on the rank's GPU."""
        import torch

        from rl.workers.rendezvous import Rendezvous

        self.rank, self.world = rank, world
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(threads)
        self.deepspeed: Any = None  # a deepspeed.DeepSpeedEngine, which has no types
        self.shares_gpu, self.sharing = shares_gpu, 1
        self.offload: Offload | None = None  # present where states leave the GPU between updates
        self.clipping = Clipping()
        self.shards: ZeroShards | None = None  # present under ZeRO-3, which divides a model while it is loaded
        self.keeping_activations: Keeper = nullcontext
        self.rendezvous = Rendezvous()

    def address(self) -> tuple[str, int]:
        """Return (IP address, port) under which the other ranks find this one."""
        return self.rendezvous.listen()

    def connect(self, host: str, port: int) -> None:
        """Join the process group whose first rank is at `host`. Collective."""
        import deepspeed
        import torch.distributed as dist

        # LOCAL_RANK is 0 on every rank: an actor sees only its own GPU, as device 0.
        os.environ.update(RANK=str(self.rank), WORLD_SIZE=str(self.world), LOCAL_RANK="0")
        if self.device.type == "cpu":
            # Otherwise DeepSpeed compiles this extension for minutes, at every start.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        if not dist.is_initialized():
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            self.rendezvous.join(backend, host, port, self.rank, self.world)
            deepspeed.init_distributed(backend, verbose=False)  # which takes the process group that there is

    def module(self, path: str, config: ModelConfig, base: str) -> nn.Module:
        """Return the module that this worker trains, built from the model folder `path`, or from an adapter's folder `path`
        and the model folder `base`."""
        raise NotImplementedError

    def load(
        self, path: str, config: ModelConfig, trainer: TrainerConfig, optimizer: OptimizerConfig, base: str = ""
    ) -> None:
        """Build the DeepSpeed engine anew around the model folder `path`, with a fresh optimizer; `base` is the model folder
        that an adapter at `path` belongs to. Collective."""
        self.wrap(lambda: self.module(path, config, base), config.dtype, trainer, optimizer)

    def wrap(
        self, make: Callable[[], nn.Module], dtype: str, trainer: TrainerConfig, optimizer: OptimizerConfig
    ) -> None:
        """Build the DeepSpeed engine anew around the module that `make` returns. Collective."""
        import deepspeed

        from models.fused_layers import fuse_layers

        self.deepspeed, self.offload = None, None  # freed before the next one is made: both may not fit
        on_gpu = self.device.type == "cuda"
        settings = deepspeed_settings(dtype, trainer.zero_stage, trainer.deepspeed, optimizer.gradient_clipping, on_gpu)
        stage = settings["zero_optimization"]["stage"]
        self.shards = ZeroShards(settings) if stage == 3 else None
        module = make().to(self.device)
        self.sharing = share_sequences(module, self.rank, self.world, trainer.sequence_parallel)
        self.keeping_activations = activations_keeper(module, self.device, trainer.offload_activations)
        if on_gpu:
            fuse_layers(module)
        adam = build_adamw(module, optimizer, settings, on_gpu, trainer.threads, self.world)
        if not stage:
            # Before `initialize`, to which it leaves a limit of 0: DeepSpeed would clip too, and report no norm.
            self.clipping.take_over(module, adam, settings)
        self.deepspeed, *_ = deepspeed.initialize(
            model=module, optimizer=adam, config=settings, dist_init_required=False
        )
        # They leave at once: nobody reads them before the first update, and other roles load onto the GPU meanwhile.
        if on_gpu and self.shares_gpu and trainer.offload_between_turns:
            self.offload = Offload(self.deepspeed, self.device).leave()

    @brings_states_back
    def optimise(
        self,
        batch: BatchShare,
        steps: Sequence[OptimiserStep],
        loss: Loss,
        action_weights: Callable[[Tensor], Tensor],
        pairs: bool = False,
        holds_back: Callable[[Mapping[str, float]], bool] = lambda report: False,
    ) -> list[dict[str, float]]:
        """Take the optimiser steps and return this rank's share of each one's metrics; shares sum over the ranks.

        `loss(micro_batch)` returns (loss_A, diagnostics_A), one term for each action.
        `action_weights(actions_N)` maps the action counts of all sequences in the step to one weight per action [A]; it
        carries the normalisation. The step's loss is Σ weight × term over all micro-batches and ranks, so its gradient
        is the same however the step was cut. A column `scale` multiplies the weights. Diagnostics are means over actions.

        With `pairs`, rows come two by two (chosen, rejected) and a sequence counts as one action: `loss` returns a term
        for each sequence [N], a pair's at both of its two, and diagnostics are means over sequences. A step that is held back
        by its report, still without a norm, ends the steps. Collective."""
        self.deepspeed.train()
        counts_N = batch.actions_N * 0 + 1 if pairs else batch.actions_N
        reports: list[dict[str, float]] = []
        for step in steps:
            actions_N = counts_N[list(step.rows)]
            # Row → weights of its actions, from the counts of the whole step: a rank alone could not normalise.
            weights_by_row = dict(zip(step.rows, split_by_sequence(action_weights(actions_N), actions_N), strict=True))
            for group in self.deepspeed.optimizer.param_groups:
                group["lr"] = step.learning_rate
            report: Values = defaultdict(float)  # sums stay tensors: reading one would wait for the GPU
            compute = partial(self._losses, batch, step.dummy, weights_by_row, loss)
            for rows in step.micro_batches:
                _, scalar, diagnostics = compute(rows)
                # DeepSpeed averages gradients over ranks, and ours are to be added up; it would divide by steps too.
                self.deepspeed.backward(scalar * self.world, scale_wrt_gas=False)
                # Of ranks that share sequences each has the whole loss and reports its part. Its gradient is what its
                # own tokens contribute (`models.sequence_parallel`): that was not to be divided.
                report["loss"] += scalar.detach() / self.sharing
                for name, values in diagnostics.items():  # [A], or [N] under a name for sequences
                    count = len(step.rows) if name.endswith(PER_SEQUENCE) else int(actions_N.sum())
                    # In double: the sum hardly depends on how the step was cut. A dummy adds 0 to every name.
                    report[name] += values.detach().double().sum() / (count * self.sharing) if rows else 0.0
            reports.append({name: float(value) for name, value in report.items()} | {"grad_norm": math.nan})
            if holds_back(reports[-1]):
                break
            self.deepspeed.step()
            reports[-1]["grad_norm"] = self._norm()
            self._check_step(reports[-1], step, batch, compute)
        return reports

    def _losses(
        self,
        batch: BatchShare,
        dummy: Sequence[int],
        weights_by_row: Mapping[int, Tensor],
        loss: Loss,
        rows: Sequence[int],
    ) -> Losses:
        """Return (loss_A, their weighted sum, diagnostics_A) of a micro-batch's rows. Collective."""
        import torch

        from models.varlen import send

        # Every rank runs equally many forwards and backwards, for ZeRO gathers and reduces in each: one without rows computes
        # the dummy's, with weight 0. Where that gives NaN so does the rank that has the sequence, and no harm is done.
        micro_batch = batch.select(rows or dummy).to(self.device)
        with self.keeping_activations():
            loss_A, diagnostics = loss(micro_batch)
        weights_A = send(torch.cat([weights_by_row[row] for row in rows or dummy]), self.device)
        if batch.has("scale"):
            weights_A = weights_A * micro_batch.scale_A
        return loss_A, (loss_A * weights_A * bool(rows)).sum(), diagnostics

    def _check_step(self, report: dict[str, float], step: OptimiserStep, batch: BatchShare, compute: Compute) -> None:
        """Raise NonFiniteError where the step met or made a number that is none."""
        # The norm first: all ranks have the same one, and so all of them go into `explain_step`, which is collective.
        if not math.isfinite(report["grad_norm"]):
            explain_step(self.deepspeed, batch, step.micro_batches, compute)
        if not math.isfinite(report["loss"]):  # of this rank alone: the whole gradient is finite
            raise NonFiniteError(f"the loss is {report['loss']}", is_update=True)
        check_weights(self.deepspeed.module)

    def forward(
        self, batch: BatchShare, micro_batches: Iterable[Sequence[int]], compute: Callable[[Batch], Tensor], name: str
    ) -> dict[int, np.ndarray]:
        """Return {row: the entries [a] of `compute(micro_batch)` [A] at its actions}, without gradients. Raises
        NonFiniteError, with the `name` of what is computed, for a NaN or an infinity. Collective."""
        import torch

        self.deepspeed.eval()
        results: list[tuple[Sequence[int], Tensor, Tensor]] = []
        with torch.no_grad():
            for rows in micro_batches:
                micro_batch = batch.select(rows or FORWARD_DUMMY).to(self.device)  # as in `optimise`
                results.append((rows, compute(micro_batch), micro_batch.host.actions_N))
        answers: dict[int, np.ndarray] = {}
        # Read when all are on their way: a GPU would stand still after each that is waited for. Of ranks that share
        # sequences, which have the same answers, the first one gives them: each row comes once.
        for rows, values_A, actions_N in results if self.rank % self.sharing == 0 else []:
            pieces = split_by_sequence(values_A.cpu(), actions_N)
            # Without rows there is the dummy's piece, which belongs to none.
            answers.update({row: piece.numpy() for row, piece in zip(rows, pieces, strict=bool(rows))})
        check_answers(answers, name, batch)
        return answers

    @frees_memory
    @brings_states_back
    def save_optimizer(self, folder: str) -> None:
        """Write this rank's share of master weights and optimizer state, as safetensors."""
        write_optimizer(self.deepspeed, optimizer_file(folder, self.rank, self.world), self.rank)

    @frees_memory
    @brings_states_back
    def load_optimizer(self, folder: str) -> None:
        """Read back this rank's share of what `save_optimizer` wrote, after the model's weights, on however many ranks and at
        whatever ZeRO stage. Raises ValueError where something is missing."""
        read_optimizer(self.deepspeed, Path(folder), self.rank)

    def _norm(self) -> float:
        """Return this rank's share of the last step's gradient norm before clipping; inf if no step was taken."""
        norm: float | None = self.deepspeed.get_global_grad_norm()
        if norm is None:  # without ZeRO: see `wrap`
            norm = self.clipping.norm
        # Every rank knows the whole norm, and the group adds up what the ranks report.
        return float(norm) / self.world

    def _sum_over_ranks(self, share: float) -> float:
        """Return the sum of what each rank has. Collective."""
        import torch
        import torch.distributed as dist

        total = torch.tensor(share, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)

    def _named_parameters(self, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[str, Tensor]]:
        """Return (name, whole parameter) of those `wanted` by name, one at a time. Collective under ZeRO-3."""
        return whole_parameters(self.deepspeed.module, wanted)
