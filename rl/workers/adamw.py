"""AdamW as a trainer's rank takes it: fused on a GPU, and on the host where DeepSpeed keeps the states of a GPU there."""

from __future__ import annotations

import os
from glob import glob
from typing import TYPE_CHECKING

from rl.config import Values
from rl.workers.deepspeed_settings import offloads_optimizer
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import AdamW


def build_adamw(
    module: nn.Module, optimizer: OptimizerConfig, settings: Values, on_gpu: bool, threads: int, world: int
) -> AdamW:
    """Return AdamW of what trains in the module, for a rank of `world` that has so many CPU `threads`; `settings` are DeepSpeed's.
    The learning rate comes with each step."""
    import torch

    is_offloaded = offloads_optimizer(settings)
    if on_gpu and is_offloaded:
        torch.set_num_threads(max(threads, _cores_of_rank(world)))
    # Fused, a step reads and writes everything once; plain, it makes 20 passes. CPUs that train keep the numbers they had.
    is_fused = on_gpu or is_offloaded
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    betas, decay = optimizer.betas, optimizer.weight_decay
    return torch.optim.AdamW(parameters, lr=0.0, betas=betas, weight_decay=decay, fused=is_fused)


def _cores_of_rank(world: int) -> int:
    """Return the CPU cores of each rank on this machine: all ranks take their steps at the same time."""
    ranks_here = min(world, len(glob("/dev/nvidia[0-9]*")) or world)
    return max(1, len(os.sched_getaffinity(0)) // ranks_here)
