"""Reads the memory of this process's GPUs by NVML, without a CUDA context, which would take half a GB of each."""

from __future__ import annotations

import os
from typing import Any


def read_gpus(count: int) -> tuple[int, int]:
    """Return the (free, total) bytes of the fullest of the process's first `count` GPUs."""
    from vllm.third_party import pynvml  # vLLM brings it along

    nvml: Any = pynvml
    nvml.nvmlInit()
    try:
        names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = [name for name in names if name] or [str(i) for i in range(count)]
        infos = [nvml.nvmlDeviceGetMemoryInfo(_handle(nvml, name)) for name in names[:count]]
        # An engine takes the same share of each of its GPUs, so the fullest one decides.
        return min((int(info.free), int(info.total)) for info in infos)
    finally:
        nvml.nvmlShutdown()


def _handle(nvml: Any, name: str) -> Any:
    """Return NVML's handle of a GPU as CUDA_VISIBLE_DEVICES names it, by number or by UUID."""
    return nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
