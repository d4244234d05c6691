"""Taking turns in memory: when a trainer's call ends, it gives back what it no longer uses. On a GPU that it shares that is
what torch's cache holds: another process, an engine or a trainer, is next, and allocates beside torch's cache, not from it. On
a CPU it is the heap's free pieces, which glibc keeps: all processes share the machine's memory."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    import torch


class Trainer(Protocol):
    """A trainer, as far as this module knows it."""

    device: torch.device
    shares_gpu: bool
    """True if an engine or another trainer has the same GPU."""


LONG_CALL_S = 5.0
"""Seconds from which a call is worth a look through the heap. The next one asks for the pages again, which takes about half a
second for each GB: a seventh of the time of calls that take a single micro-batch."""
Arguments = ParamSpec("Arguments")
Worker = TypeVar("Worker", bound=Trainer)
Result = TypeVar("Result")


def frees_memory(
    method: Callable[Concatenate[Worker, Arguments], Result],
) -> Callable[Concatenate[Worker, Arguments], Result]:
    """Decorate a worker's method to give back what it no longer uses when it ends, failed or not. A trainer that has its GPU
    to itself keeps torch's cache."""

    @wraps(method)
    def call(worker: Worker, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        import torch

        begun = time.monotonic()
        try:
            return method(worker, *args, **kwargs)
        finally:
            if worker.device.type == "cuda" and worker.shares_gpu:
                torch.cuda.empty_cache()
            elif worker.device.type == "cpu" and time.monotonic() - begun >= LONG_CALL_S:
                trim_heap()

    return call


def trim_heap() -> None:
    """Give the heap's free pages back to the machine, where the C library can."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
