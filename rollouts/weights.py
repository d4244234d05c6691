"""Handles of a model's weights, on their way from a trainer to the engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

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
