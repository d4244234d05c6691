"""Taking turns on a GPU: when a trainer's call ends, it gives back what only torch's cache still holds. Another process on
the same device is next, an engine or a trainer, and allocates beside torch's cache, not from it. A trainer that has its GPU to
itself keeps the cache."""

from __future__ import annotations

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


Arguments = ParamSpec("Arguments")
Worker = TypeVar("Worker", bound=Trainer)
Result = TypeVar("Result")


def frees_cuda_cache(
    method: Callable[Concatenate[Worker, Arguments], Result],
) -> Callable[Concatenate[Worker, Arguments], Result]:
    """Decorate a worker's method to empty torch's cache when it ends, failed or not."""

    @wraps(method)
    def call(worker: Worker, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        import torch

        try:
            return method(worker, *args, **kwargs)
        finally:
            if worker.device.type == "cuda" and worker.shares_gpu:
                torch.cuda.empty_cache()

    return call
