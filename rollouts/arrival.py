"""Checksums of weights: what a trainer sends is compared with what each engine receives, tensor by tensor.

A checksum covers a tensor's shape, its type and its bytes as sent; its name is the key. On the host XXH3 reads memory as
fast as it comes (35 GB/s on one core), so the sums cost about as much as one more copy of the weights. A tensor on a GPU is
summed there: brought to the host it would cost more than the whole transfer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

PIECE = 1 << 21
"""Words of 8 bytes that a sum on a GPU takes at once: 16 MB, of which three copies exist for a moment."""
MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)
"""An odd number with bits all over, as torch's signed integers have it."""
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
    """Return the checksum of a tensor."""
    return checksums([("", tensor)])[""]


def checksums(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Checksum]:
    """Return the checksums of named tensors, each summed where it lies."""
    return finish_checksums([start_checksum(name, tensor) for name, tensor in tensors])


@dataclass(frozen=True, slots=True)
class StartedChecksum:
    """A checksum that a GPU may not have computed yet: reading each one would wait for it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    digest: int | Tensor


def start_checksum(name: str, tensor: Tensor) -> StartedChecksum:
    """Begin to sum a tensor, which may change or go as soon as this returns."""
    import torch
    import xxhash

    # As bytes: numpy has no bfloat16, and a tensor without dimensions has no bytes to view.
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    digest = xxhash.xxh3_64_intdigest(content.numpy().data) if content.device.type == "cpu" else sum_words(content)
    return StartedChecksum(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), digest)


def finish_checksums(started: Sequence[StartedChecksum]) -> dict[str, Checksum]:
    """Return the checksums, with one wait for the GPU."""
    import torch

    late = [sum.digest for sum in started if not isinstance(sum.digest, int)]
    digests = iter(cast("list[int]", torch.stack(late).tolist()) if late else [])  # torch leaves `tolist` untyped
    return {
        sum.name: Checksum(sum.shape, sum.dtype, sum.digest if isinstance(sum.digest, int) else next(digests))
        for sum in started
    }


def sum_words(content: Tensor) -> Tensor:
    """Return a digest of bytes as one number, computed on their device with integers alone, so in whatever order it adds.

    Σ w_i · mix(x_i) over the words x of 8 bytes, mod 2⁶⁴, with odd weights w: one changed word always changes it, and a
    moved one does but for a chance of about 2⁻⁶³."""
    import torch
    from torch.nn.functional import pad

    size = content.numel()
    if content.storage_offset() % 8:  # as a part of ZeRO's flat buffer may lie; words must be aligned
        content = content.clone()
    whole = content[: size // 8 * 8].view(torch.int64)
    tail = pad(content[size // 8 * 8 :], (0, -size % 8)).view(torch.int64)
    weights, total = _weights(content.device), torch.full((), size, dtype=torch.int64, device=content.device)
    for words in [*cast("tuple[Tensor, ...]", whole.split(PIECE)), tail]:
        # Mixed first: the highest bits of two words, such as two signs, would cancel each other under any odd weights.
        mixed = words ^ ((words >> 29) & ((1 << 35) - 1))
        total = total * MULTIPLIER + (mixed * weights[: len(mixed)]).sum()
    return total


@cache
def _weights(device: torch.device) -> Tensor:
    """Return odd numbers that look random, the same on every device."""
    import torch

    places = torch.arange(1, PIECE + 1, dtype=torch.int64, device=device) * MULTIPLIER
    return (places ^ (places >> 31)) * MULTIPLIER | 1


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
