"""Moves inputs of checkpointed layers to the host's memory until the backward pass, for packs too large for a GPU.

torch's `save_on_cpu` would move everything that autograd keeps, weights too, and waits for each copy. Under gradient
checkpointing the layers' inputs are what grows with the pack: they alone are moved, beside the arithmetic.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SMALLEST = 1 << 20
"""Bytes below which a tensor stays where it is: copying it would take longer than it is worth."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A tensor in the host's memory."""

    host: Tensor
    device: torch.device
    copied: Any
    """torch.cuda.Event after the copy; None on a CPU."""


@dataclass(slots=True)
class Total:
    """Bytes that were moved to the host."""

    moved: int = 0


@contextmanager
def offload_inputs(hidden: int, device: torch.device, smallest: int = SMALLEST) -> Generator[Total]:
    """Move to the host, and back when the backward pass asks for them, the states [1, tokens, `hidden`] that autograd saves
    inside; yield how much. Checkpointed layers save their inputs alone."""
    total = Total()
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def pack(saved: Tensor) -> Tensor | Moved:
        # By shape: weights have two dimensions, and the rotary tables that layers share another width.
        if not (saved.dim() == 3 and len(saved) == 1 and saved.shape[2] == hidden and saved.nbytes >= smallest):
            return saved
        total.moved += saved.nbytes
        host = torch.empty_like(saved, device="cpu", pin_memory=stream is not None)
        if stream is None:
            return Moved(host.copy_(saved), saved.device, None)
        # Copied on another stream, so that the next layer need not wait. `record_stream` keeps the allocator from
        # reusing the tensor's memory before the copy is done.
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            host.copy_(saved, non_blocking=True)
            saved.record_stream(stream)
        return Moved(host, saved.device, stream.record_event())

    def unpack(saved: Tensor | Moved) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        if saved.copied is not None:
            torch.cuda.current_stream(saved.device).wait_event(saved.copied)
        return saved.host.to(saved.device, non_blocking=True)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield total
