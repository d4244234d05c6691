"""States of a trainer in the host's memory while it waits for its turn on a GPU: master weights, optimizer states, gradients.

DeepSpeed 0.19 moves these for ZeRO 2, and for ZeRO 3 with its own compiled Adam alone. Here the *storages* are emptied and
filled again, whatever the stage: every view of them that DeepSpeed holds stays valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from rl.workers.optimizer_state import shards

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Trainer(Protocol):
    """A trainer, as far as this module knows it."""

    offload: Offload | None
    """Mover of its states; None where they never leave the device."""


Arguments = ParamSpec("Arguments")
Worker = TypeVar("Worker", bound=Trainer)
Result = TypeVar("Result")

# Where DeepSpeed 0.19 keeps gradients from one step to the next: ZeRO 1 in bfloat16; ZeRO 1 and 2; ZeRO 3.
GRADIENTS = ("fp32_groups_gradients_flat", "averaged_gradients", "grad_partitions_flat_buffer")


class Offload:
    """The states of one DeepSpeed engine, on its device or in the host's memory."""

    def __init__(self, engine: Any, device: torch.device) -> None:
        """`engine` is a deepspeed.DeepSpeedEngine, which has no types. What is not on `device` stays where it is."""
        self.engine, self.device = engine, device
        self.host: dict[int, Tensor] = {}
        """Pinned memory for each storage, by its place in the walk: made once, since pinning takes longer than copying."""
        self.away: list[tuple[torch.UntypedStorage, int, Tensor | None]] = []
        """Emptied storages: (storage, its bytes, their copy; None where all of them were 0)."""

    def leave(self) -> Offload:
        """Copy the states to the host, free their memory on the device, and return the offload."""
        import torch

        if self.away:
            return self
        for i, storage in enumerate(self._storages()):
            size, copy = storage.nbytes(), None
            content = _content(storage, self.device)
            # Between two steps gradients are 0, in the buffers that are not freed: nothing to copy.
            if bool(content.any()):
                if i not in self.host or self.host[i].numel() != size:
                    self.host[i] = torch.empty(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
                copy = self.host[i].copy_(content, non_blocking=True)
            self.away.append((storage, size, copy))
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # before memory is freed that copies still read
        for storage, _, _ in self.away:
            storage.resize_(0)
        return self

    def come_back(self) -> None:
        """Bring the states back to the device, to where every view of them looks."""
        for storage, size, copy in self.away:
            storage.resize_(size)
            content = _content(storage, self.device)
            if copy is None:
                content.zero_()
            else:
                # Not waited for: whatever reads the states comes after it on the same stream.
                content.copy_(copy, non_blocking=True)
        self.away.clear()

    def _storages(self) -> Iterator[torch.UntypedStorage]:
        """Yield each storage on the device that only an update reads."""
        weights = {weight.untyped_storage().data_ptr() for weight in self.engine.module.parameters()}
        seen: set[int] = set()
        for tensor in self._states():
            storage = tensor.untyped_storage()
            # Without ZeRO the master weights are the model's own, which every call reads.
            known = storage.data_ptr() in weights or storage.data_ptr() in seen
            if tensor.device.type == self.device.type and storage.nbytes() and not known:
                seen.add(storage.data_ptr())
                yield storage

    def _states(self) -> Iterator[Tensor]:
        optimizer = self.engine.optimizer
        for _, weight, moments in shards(optimizer):
            # AdamW's count of steps is a scalar: moving it would free nothing.
            yield from (weight, *(moment for moment in moments.values() if moment.dim()))
            yield from _tensors(weight.grad)
        for name in GRADIENTS:
            yield from _tensors(getattr(optimizer, name, None))
        for parameter in self.engine.module.parameters():
            yield from _tensors(parameter.grad)


def brings_states_back(
    method: Callable[Concatenate[Worker, Arguments], Result],
) -> Callable[Concatenate[Worker, Arguments], Result]:
    """Decorate a worker's method that reads the states: they come back before it, and leave when it ends, failed or not."""

    @wraps(method)
    def call(worker: Worker, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if worker.offload is None:
            return method(worker, *args, **kwargs)
        worker.offload.come_back()
        try:
            return method(worker, *args, **kwargs)
        finally:
            worker.offload.leave()

    return call


def _content(storage: torch.UntypedStorage, device: torch.device) -> Tensor:
    """Return the bytes of a storage."""
    import torch

    return torch.empty(0, dtype=torch.uint8, device=device).set_(storage)


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield the tensors in nested lists and dicts."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in cast("dict[object, object]", value).values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in cast("Iterable[object]", value):
            yield from _tensors(item)
