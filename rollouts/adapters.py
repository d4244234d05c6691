"""Prepares a vLLM engine for LoRA adapters, and replaces its adapter by that of a new version."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from vllm import LLMEngine
    from vllm.lora.request import LoRARequest

SLOT = 1  # the lowest that vLLM takes
"""vLLM's number of the only adapter of an engine: a new version takes the same number and another name."""


def engine_options(rank: int) -> dict[str, Any]:
    """Return vLLM's options for adapters of at most this rank; none for rank 0, which means that no adapter is sent."""
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank} if rank else {}


def base_name(name: str) -> str:
    """Return the name of a parameter without the part that vLLM adds where it wraps a layer that takes adapters."""
    return name.replace(".base_layer.", ".")


def load_adapter(engine: LLMEngine, tensors: dict[str, Tensor], config: str, version: int) -> LoRARequest:
    """Load an adapter in the place of the one before and return the handle by which requests name it. `tensors` and
    `config` are the contents of peft's two files."""
    import safetensors.torch
    from vllm.lora.request import LoRARequest

    # vLLM takes an adapter as a folder. It lies in shared memory, which the processes of a tensor-parallel engine can
    # read.
    with TemporaryDirectory(prefix="groundtone-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        safetensors.torch.save_file(tensors, Path(folder) / "adapter_model.safetensors")
        (Path(folder) / "adapter_config.json").write_text(config)
        engine.add_lora(LoRARequest(f"version-{version}", SLOT, folder, load_inplace=True))
        # Without `load_inplace`: a request that had it would make vLLM read the folder, which is gone by then, at every
        # step.
        return LoRARequest(f"version-{version}", SLOT, folder)
