"""Detection of NaN and infinite numbers: what becomes of them in a record, and the error that names where they arise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class NonFiniteError(ValueError):
    """Error for weights, gradients, losses, logprobs or values that are NaN or infinite; its text names the first."""

    def __init__(self, text: str, is_update: bool = False) -> None:
        super().__init__(text, is_update)  # both, since a pickled error is built anew from its arguments
        self.text, self.is_update = text, is_update
        """`is_update`: an optimiser step met it, which was not taken or has just spoilt the weights."""

    def __str__(self) -> str:
        return self.text


def drop_undefined(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that are numbers: JSON has neither NaN nor infinity, so one that is undefined (the mean reward
    of a step without a verdict) is absent from a record."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def describe_non_finite(tensor: Tensor) -> str:
    """Return which numbers of a tensor are NaN or infinite, in words: `NaN in 3 of 64 values`; "" if none is."""
    import torch

    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return ""
    nan = bool(torch.isnan(tensor).any())
    kind = "NaN" if nan else "infinite"
    count = int((torch.isnan(tensor) if nan else torch.isinf(tensor)).sum())
    return f"{kind} in {count:,} of {tensor.numel():,} values" if tensor.numel() > 1 else kind


def find_non_finite(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the first of the named tensors that holds a NaN or an infinity, and what: `lm_head.weight is NaN in 3 of 64
    values`; "" if all numbers are finite."""
    for name, tensor in tensors:
        if problem := describe_non_finite(tensor):
            return f"{name} is {problem}"
    return ""


def is_finite(values: np.ndarray) -> bool:
    """Return whether all numbers of an array are finite."""
    import numpy as np

    return bool(np.isfinite(values).all())
