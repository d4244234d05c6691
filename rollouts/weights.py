"""Handles of a model's weights, on their way from a trainer to the engines, and what is needed to prove that they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from rollouts.arrival import Checksums, folder_checksums
from rollouts.probe import Probe

if TYPE_CHECKING:
    import numpy as np
    from ray import ObjectRef


class WeightBucket(TypedDict, total=False):
    """Some of a model's weights: the fields of `rollouts.weight_transfer.Bucket`, whose module imports vLLM and so stays
    out of the driver and the trainers."""

    tensors: ObjectRef[dict[str, np.ndarray]] | None
    folder: str | None
    frozen: str | None
    adapter: str
    """adapter_config.json of a LoRA adapter, whose tensors go by peft's names; absent for weights of the model itself."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One version of a model's weights, with what was sent of it and what the trainer makes of the probe."""

    buckets: Sequence[WeightBucket]
    checksums: Checksums
    """Checksums of all tensors that were sent."""
    seconds: float = 0.0
    """Time that the trainer took for the checksums."""
    probe: Probe | None = None
    """Sequence that engines score after the load; None where no trainer is there to compare with."""
    score: Callable[[], np.ndarray] | None = None
    """Waits for the trainer's logprobs of the probe and returns them, [a]."""

    @property
    def from_trainer(self) -> bool:
        """True unless engines read them from a folder."""
        return not any("folder" in bucket for bucket in self.buckets)


def folder_weights(folder: Path) -> Weights:
    """Return the weights in a model's folder, as engines read them from disk."""
    return Weights([{"folder": str(folder)}], folder_checksums(folder))
