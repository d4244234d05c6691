"""LoRA adapters in a vLLM engine: how it is started for them, and how one takes the place of the version before."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from vllm import LLMEngine
    from vllm.lora.request import LoRARequest

SLOT = 1
"""vLLM's number for the one adapter of an engine; versions differ in name."""


def engine_options(rank: int) -> dict[str, Any]:
    """Return vLLM's options for adapters of at most this rank; none for rank 0, where a trainer sends none."""
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank} if rank else {}


def base_name(name: str) -> str:
    """Return the name of a parameter without vLLM's mark for the layers that take adapters, which it wraps."""
    return name.replace(".base_layer.", ".")


def load_adapter(engine: LLMEngine, tensors: dict[str, Tensor], config: str, version: int) -> LoRARequest:
    """Put an adapter, in the words of peft's two files, in the place of the one before; return what requests name it by."""
    import safetensors.torch
    from vllm.lora.request import LoRARequest

    # vLLM takes an adapter as a folder. In shared memory, where the processes of a tensor-parallel engine read it too.
    with TemporaryDirectory(prefix="groundtone-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        safetensors.torch.save_file(tensors, Path(folder) / "adapter_model.safetensors")
        (Path(folder) / "adapter_config.json").write_text(config)
        engine.add_lora(LoRARequest(f"version-{version}", SLOT, folder, load_inplace=True))
        # A request that says `load_inplace` again would have the folder read at every step.
        return LoRARequest(f"version-{version}", SLOT, folder)
