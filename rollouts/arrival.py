"""Checksums of weights: what a trainer sends is compared with what each engine receives, tensor by tensor.

A checksum covers a tensor's shape, its type and its bytes as sent; its name is the key. XXH3 reads memory as fast as it
comes (35 GB/s on one core), so the sums cost about as much as one more copy of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SAFETENSORS_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}
"""Types in a safetensors header, as torch calls them."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """Checksum of one tensor."""

    shape: tuple[int, ...]
    dtype: str
    """Name of the type in torch, such as `bfloat16`."""
    digest: int | None
    """Hash of the bytes; None where only a file's header was read."""

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}"


Checksums = Mapping[str, Checksum]
"""Checksums by the names of the tensors."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Answer of an engine to a load of weights."""

    version: int
    """Version that it holds now."""
    received: Sequence[Checksums]
    """Checksums of what each of its tensor-parallel workers has received."""
    score: np.ndarray | None
    """[A] logprobs of the probe, where there was one."""
    seconds: float
    """Time that checksums and probe took."""


class ArrivalError(ValueError):
    """Error for weights that an engine does not hold as they were sent, or does not use."""


def checksum(tensor: Tensor) -> Checksum:
    """Return the checksum of a tensor in host memory."""
    import torch
    import xxhash

    # As bytes: numpy has no bfloat16, and a tensor without dimensions has no bytes to view.
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return Checksum(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), xxhash.xxh3_64_intdigest(content))


def folder_checksums(folder: Path) -> dict[str, Checksum]:
    """Return the checksums of a model's folder as far as its headers tell them, without a byte of the weights read."""
    import safetensors

    safe_open: Any = safetensors.safe_open  # without types
    sums: dict[str, Checksum] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            for name in list(tensors.keys()):  # it is no mapping
                header = tensors.get_slice(name)
                dtype: str = header.get_dtype()
                sums[name] = Checksum(tuple(header.get_shape()), SAFETENSORS_DTYPES.get(dtype, dtype), None)
    return sums


def describe_difference(sent: Checksums, received: Checksums) -> str:
    """Return the first difference between what was sent and what was received, in words that name the tensor; "" without
    one."""
    missing = [name for name in sent if name not in received]
    unknown = [name for name in received if name not in sent]
    # A tensor under another name is one fault, not two.
    for name in missing:
        for new_name in unknown:
            if received[new_name] == sent[name]:
                return f"{name} arrived under the name {new_name}"
    if missing:
        return f"{missing[0]} was sent and did not arrive ({len(missing)} of {len(sent)} tensors)"
    if unknown:
        return f"{unknown[0]} arrived, which was not sent"
    for name, sent_sum in sent.items():
        received_sum = received[name]
        if str(received_sum) != str(sent_sum):
            return f"{name} was sent as {sent_sum} and arrived as {received_sum}"
        if None not in (received_sum.digest, sent_sum.digest) and received_sum.digest != sent_sum.digest:
            return f"{name} arrived with other values than were sent"
    return ""
