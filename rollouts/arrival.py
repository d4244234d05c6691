"""Compares checksums of the weights that a trainer sends with those of what each engine receives, tensor by tensor.

A checksum covers a tensor's shape, type and bytes; the tensor's name is its key. On the host XXH3 is as fast as memory
(35 GB/s on one core), so checksums cost about as much as one more copy of the weights. A tensor on a GPU is summed
there: copying it to the host would cost more than the whole transfer.
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
"""2⁶⁴ divided by the golden ratio, an odd number whose bits are well mixed, as a signed integer: torch has no other
kind."""
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
    """Seconds that checksums and probe took."""


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
    """A checksum that a GPU may still be computing. It is not read one by one, since each read would wait for the
    GPU."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    digest: int | Tensor


def start_checksum(name: str, tensor: Tensor) -> StartedChecksum:
    """Begin to compute the checksum of a tensor, which may be changed or freed as soon as this returns."""
    import torch
    import xxhash

    # Viewed as bytes, since numpy has no bfloat16; flat, since a tensor without dimensions has no bytes to view.
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    digest = xxhash.xxh3_64_intdigest(content.numpy().data) if content.device.type == "cpu" else sum_words(content)
    return StartedChecksum(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), digest)


def finish_checksums(started: Sequence[StartedChecksum]) -> dict[str, Checksum]:
    """Return the finished checksums by name, waiting for the GPU once."""
    import torch

    late = [sum.digest for sum in started if not isinstance(sum.digest, int)]
    digests = iter(cast("list[int]", torch.stack(late).tolist()) if late else [])  # torch leaves `tolist` untyped
    return {
        sum.name: Checksum(sum.shape, sum.dtype, sum.digest if isinstance(sum.digest, int) else next(digests))
        for sum in started
    }


def sum_words(content: Tensor) -> Tensor:
    """Return a digest of bytes, an int64 of no dimensions on their device. Integer sums do not depend on the order in
    which a GPU adds.

    Σ w_i · mix(x_i) over the words x of 8 bytes, mod 2⁶⁴, with odd weights w: one changed word always changes it, and a
    moved one does but for a chance of about 2⁻⁶³."""
    import torch
    from torch.nn.functional import pad

    size = content.numel()
    if content.storage_offset() % 8:  # a slice of ZeRO's flat buffer may begin anywhere, but words must be aligned
        content = content.clone()
    whole = content[: size // 8 * 8].view(torch.int64)
    tail = pad(content[size // 8 * 8 :], (0, -size % 8)).view(torch.int64)
    # The size is part of the sum: the tail is filled up with zeros, and zeros alone add nothing.
    weights, total = _weights(content.device), torch.full((), size, dtype=torch.int64, device=content.device)
    for words in [*cast("tuple[Tensor, ...]", whole.split(PIECE)), tail]:
        # Mixed first: if the top bits of two words both flip, as with two signs, the changes cancel under any odd
        # weights.
        # The mask makes the shift a logical one: torch's fills up with the sign.
        mixed = words ^ ((words >> 29) & ((1 << 35) - 1))
        # Horner's rule over the pieces, which all have the same weights: so a piece that moves is seen.
        total = total * MULTIPLIER + (mixed * weights[: len(mixed)]).sum()
    return total


@cache
def _weights(device: torch.device) -> Tensor:
    """Return odd numbers that look random, the same on every device."""
    import torch

    places = torch.arange(1, PIECE + 1, dtype=torch.int64, device=device) * MULTIPLIER
    return (places ^ (places >> 31)) * MULTIPLIER | 1


def folder_checksums(folder: Path) -> dict[str, Checksum]:
    """Return checksums of a model's folder without digests, from the files' headers: no weights are read."""
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
    """Return the first difference between what was sent and what was received, as a phrase that names the tensor; "" if
    there is none."""
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
