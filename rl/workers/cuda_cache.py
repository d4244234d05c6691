"""Taking turns on a GPU: who trains gives back, when a verb is done, what only torch's cache still holds. The engine on
the same device wakes next, and vLLM allocates beside torch's cache, not from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def frees_cuda_cache(verb: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Of a worker with a `device`; failed or not."""

    @wraps(verb)
    def wrapped(worker: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        import torch

        try:
            return verb(worker, *args, **kwargs)
        finally:
            if worker.device.type == "cuda":
                torch.cuda.empty_cache()

    return wrapped
