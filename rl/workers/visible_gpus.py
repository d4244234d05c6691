"""Checks that torch sees the GPUs that Ray counts: actors would compute on the CPU otherwise, without a word."""

from __future__ import annotations

import socket

from rl.gpu_requirements import OLDEST_DRIVER, torch_build
from rl.workers.machine import Machine


def check_torch(reserved: int) -> None:
    """Raise ValueError, in one line with the cause, where torch sees fewer than the `reserved` GPUs of this process."""
    import torch

    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if visible >= reserved:
        return
    place = f"cluster: Ray counts {reserved} GPUs on {socket.gethostname()}, torch sees {visible}"
    if not torch_build():
        raise ValueError(f"{place}: it is a build for CPUs; scripts/setup --profile gpu, or hide the GPUs from Ray")
    driver = Machine.detect().driver
    raise ValueError(
        f"{place}: its CUDA {torch_build()} needs an NVIDIA driver {OLDEST_DRIVER} or newer, and this one is "
        f"{driver or 'not known'}; update it"
    )
