"""Estimates how long new weights take from the trainer to the engines, at the rates that makers publish for their
links.

Legend: P bytes of the model, n ranks of the policy, w tensor-parallel workers of an engine.
"""

from __future__ import annotations

from dataclasses import dataclass

from rl.units import size
from rollouts.transport import WITHIN_DEVICE, Transport

NVLINK, INFINIBAND, PCIE, HBM = 450e9, 50e9, 64e9, 3.35e12
"""Bytes a second in one direction, as published, of an H100 SXM: NVLink 4 (half of 900 GB/s), a port of InfiniBand NDR (400
Gb/s), PCIe 5 × 16 (half of 128 GB/s), and its memory."""
HOST_COPY = 10e9
"""Bytes a second that one core copies in the host's memory: assumed, not published."""
PASSES, PASSES_OF_SHARE = 12, 4
"""Times that a GPU reads or writes each byte: packed, copied out and built into a layer (2 each), summed on both sides
(3 each); and each byte of a worker's own share that is put in its place, with the copy that vLLM makes of a layer
(4)."""
HOST_COPIES = 3
"""Copies in the host's memory: into the object store, out of it, and into what goes to the GPU."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Time of one load of new weights into all engines."""

    transport: Transport
    seconds: float
    formula: str


def estimate(bytes_: float, transport: Transport, ranks: int, workers: int, gathers: bool, one_node: bool) -> Transfer:
    """Return the time that P = `bytes_` take on GPUs. `gathers`: the ranks hold parts of the weights (ZeRO-3); `one_node`: all
    GPUs are on one machine. The parts are added up, although most of them run side by side: an upper bound at these rates."""
    link, name = (NVLINK, "NVLink 450 GB/s") if one_node else (INFINIBAND, "InfiniBand 50 GB/s")
    parts: list[tuple[float, str]] = []
    if gathers and ranks > 1:
        parts.append((bytes_ * (ranks - 1) / ranks / link, f"gathered: {ranks - 1}/{ranks} × {size(bytes_)} at {name}"))
    if transport == "object_store":
        parts.append((bytes_ / PCIE, f"to the host: {size(bytes_)} at PCIe 64 GB/s"))
        copies = f"copied there: {HOST_COPIES} × {size(bytes_)} at 10 GB/s (assumed)"
        parts.append((HOST_COPIES * bytes_ / HOST_COPY, copies))
        parts.append((bytes_ / PCIE, f"to the GPU: {size(bytes_)} at PCIe 64 GB/s"))
    elif transport not in WITHIN_DEVICE:
        senders = min(ranks, workers)
        parts.append((bytes_ / senders / link, f"sent: {size(bytes_)} / {senders} senders at {name}"))
        if workers > 1:
            shares = bytes_ * (workers - 1) / workers / NVLINK
            parts.append((shares, f"exchanged: {workers - 1}/{workers} × {size(bytes_)} at NVLink 450 GB/s"))
    passes = PASSES + PASSES_OF_SHARE / workers
    parts.append((bytes_ * passes / HBM, f"in a GPU: {passes:g} × {size(bytes_)} at 3.35 TB/s"))
    formula = " + ".join(f"{text} = {format_seconds(seconds)}" for seconds, text in parts)
    return Transfer(transport, sum(seconds for seconds, _ in parts), formula)


def format_seconds(seconds: float) -> str:
    """Return a short time: 0.017 s, 2.4 s, never less than a millisecond."""
    return f"{max(seconds, 0.001):.2g} s" if seconds < 10 else f"{seconds:.0f} s"
