"""LoRA adapters in a vLLM engine: how it is started for them, and how one takes the place of the version before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from models.lora import ADAPTER_CONFIG, ADAPTER_FILE, PREFIX, LoraConfig
from rollouts.weights import WeightBucket

if TYPE_CHECKING:
    from torch import Tensor
    from vllm import LLMEngine
    from vllm.lora.request import LoRARequest

SLOT = 1
"""vLLM's number for the one adapter of an engine; versions differ in name."""


def engine_options(lora: LoraConfig | None, dtype: str) -> dict[str, Any]:
    """Return vLLM's options for the adapters that a trainer with `lora` sends; none where it merges them."""
    if lora is None or lora.engines_merge(dtype):
        return {}
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora.engine_rank}


def load_adapter(engine: LLMEngine, buckets: Sequence[WeightBucket], version: int) -> LoRARequest:
    """Put the adapter in the place of the one before, and return what a request names it by."""
    import safetensors.torch
    from vllm.lora.request import LoRARequest

    from rollouts.weight_transfer import read_bucket

    tensors: dict[str, Tensor] = {}
    for bucket in buckets:
        tensors |= {f"{PREFIX}{name}": tensor for name, tensor in read_bucket(bucket)}
    # vLLM takes an adapter as a folder. In shared memory, where the processes of a tensor-parallel engine read it too.
    with TemporaryDirectory(prefix="groundtone-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        safetensors.torch.save_file(tensors, Path(folder) / ADAPTER_FILE)
        (Path(folder) / ADAPTER_CONFIG).write_text(buckets[0].get("adapter") or "")
        engine.add_lora(LoRARequest(f"version-{version}", SLOT, folder, load_inplace=True))
        # A request that says `load_inplace` again would have the folder read at every step.
        return LoRARequest(f"version-{version}", SLOT, folder)
