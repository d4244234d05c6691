"""Describes a model's weights on their way from a trainer to the engines, with what proves that they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

from rollouts.arrival import Checksums, folder_checksums
from rollouts.probe import Probe

if TYPE_CHECKING:
    import numpy as np
    from ray import ObjectRef

    from rollouts.transport import Stream


class WeightBucket(TypedDict, total=False):
    """Some of a model's weights: the fields of `rollouts.weight_transfer.Bucket`, whose module imports vLLM and so stays
    out of the driver and the trainers."""

    tensors: ObjectRef[dict[str, np.ndarray]] | None
    folder: str | None
    frozen: str | None
    stream: dict[str, object] | None
    """Fields of a `rollouts.transport.Stream` that brings all of the weights."""
    adapter: str
    """adapter_config.json of a LoRA adapter, whose tensors go by peft's names; absent for weights of the model itself."""


class StreamSource(Protocol):
    """The trainer's side of a stream of weights, as the driver holds it."""

    drops: bool
    """True where engines drop their weights when they rest, since sending them anew is faster than copying them from
    the host."""

    def start(
        self, engines: Sequence[int], replaced: int
    ) -> tuple[Sequence[Stream], Sequence[ObjectRef[tuple[Checksums, float]]]]:
        """Begin to send the present weights to these engines, over new connections if other engines have been `replaced`
        than before. Return the stream of each, and what the ranks will answer: the first one the checksums of what it
        sent, and the seconds that these took."""
        ...

    def end(self) -> None:
        """End the stream that was started last, for all who still wait in it."""
        ...


@dataclass(frozen=True, slots=True)
class Weights:
    """One version of a model's weights, with what was sent of it and what the trainer makes of the probe."""

    buckets: Sequence[WeightBucket]
    checksums: Checksums
    """Checksums of all tensors that were sent; of a stream they come at its end."""
    seconds: float = 0.0
    """Time that the trainer took for the checksums."""
    probe: Probe | None = None
    """Sequence that engines score after the load; None where no trainer is there to compare with."""
    score: Callable[[], np.ndarray] | None = None
    """Function that waits for the trainer's logprobs [A] of the probe and returns them."""
    source: StreamSource | None = None
    """Sender of the weights if they are streamed; `buckets` is empty then."""

    @property
    def from_trainer(self) -> bool:
        """True unless engines read them from a folder."""
        return not any("folder" in bucket for bucket in self.buckets)


def folder_weights(folder: Path) -> Weights:
    """Return the weights in a model's folder, as engines read them from disk."""
    return Weights([{"folder": str(folder)}], folder_checksums(folder))
