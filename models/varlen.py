"""Computes attention within sequences laid end to end by one kernel call, without padding: torch's `varlen_attn`, on a
GPU.

The kernel takes where each sequence's queries and keys begin, and lines a sequence's last query up with its last key. So the
samples of a group that share their prompt need no mask: the queries of such a sequence are its answer, its keys the prompt's
and then its own.

Suffixes: T tokens of a pack, N its sequences, K the keys of all sequences end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, cast

import torch
from torch import Tensor

LARGEST_HEAD = 256
"""Largest head size that the kernel takes."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of a pack that lie end to end and belong to one sequence, whose beginning may lie elsewhere in the pack."""

    start: int
    """Pack index of the first token."""
    length: int
    shared_start: int = 0
    """Pack index of the beginning that it shares with another sequence."""
    shared: int = 0
    """Tokens of that beginning; 0: the sequence is whole."""


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Beginnings of the queries and keys of each of a pack's sequences, as the kernel takes them."""

    query_starts_N: Tensor
    """int32, with the number of all queries as its last entry: N + 1 of them."""
    key_starts_N: Tensor
    """int32, N + 1 of them."""
    longest_query: int
    longest_key: int
    keys_K: Tensor | None
    """Pack index of each key; None where they are the pack's tokens in order."""

    @classmethod
    def from_spans(cls, spans: Sequence[Span], device: torch.device) -> EndToEnd:
        """Return the layout of spans that follow each other and fill the pack."""
        queries = [span.length for span in spans]
        keys = [span.shared + span.length for span in spans]
        pieces: list[Tensor] = []
        for span in spans:
            pieces.append(torch.arange(span.shared_start, span.shared_start + span.shared))
            pieces.append(torch.arange(span.start, span.start + span.length))
        is_shared = any(span.shared for span in spans)
        return cls(
            _starts(queries, device),
            _starts(keys, device),
            max(queries),
            max(keys),
            send(torch.cat(pieces), device) if is_shared else None,
        )


def _starts(lengths: Sequence[int], device: torch.device) -> Tensor:
    return send(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), device)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on `device`, without waiting for what the device is still computing."""
    if device.type != "cuda" or tensor.device == device:
        return tensor.to(device)
    # From pageable memory even a `non_blocking` copy waits for the device.
    return tensor.pin_memory().to(device, non_blocking=True)


def choose_kernel(
    device: str,
    capability: tuple[int, int],
    dtype: torch.dtype,
    head_sizes: tuple[int, int],
    dropout: float,
    softcap: float | None,
) -> Literal["varlen", "padded"]:
    """Return how attention is computed on a device of this type and compute capability: by the kernel above, or over
    sequences that are padded to the same length, as on a CPU. `head_sizes` are those of queries and of values."""
    # What FlashAttention, behind `varlen_attn`, demands; it has no argument for a dropout or a softcap either.
    if device == "cpu" or capability < (8, 0) or dtype not in (torch.bfloat16, torch.float16):
        return "padded"
    size, value_size = head_sizes
    fits = size == value_size and size % 8 == 0 and size <= LARGEST_HEAD
    return "varlen" if fits and not dropout and softcap is None else "padded"


def capability_of(device: torch.device) -> tuple[int, int]:
    """Return a GPU's compute capability. A device without memory (`meta`), on which costs are counted, stands for an H100."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)


def varlen_attention(
    q: Tensor, k: Tensor, v: Tensor, layout: EndToEnd, window: int | None, scale: float | None
) -> Tensor:
    """Return attention [T, heads, size] of q [T, heads, size] over k and v [T, kv_heads, size], causal within each sequence.
    With a `window` a token sees itself and the `window` - 1 before it."""
    from torch.nn.attention.varlen import varlen_attn

    if layout.keys_K is not None:
        k, v = take_rows(k, layout.keys_K), take_rows(v, layout.keys_K)
    before = -1 if window is None else window - 1
    out = varlen_attn(
        q,
        k,
        v,
        layout.query_starts_N,
        layout.key_starts_N,
        layout.longest_query,
        layout.longest_key,
        scale=scale,
        window_size=(before, 0),  # so many keys before a query's own, and none after it
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return cast("Tensor", out)  # a pair where logsumexp is asked for


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return `x[rows]`, whose gradient on a GPU is added up without sorting the rows, and in float32."""
    # On a CPU indexing itself is the fastest. On a GPU its backward sorts `rows`: 60 % of all kernels of a pass.
    return x[rows] if x.device.type == "cpu" else _TakeRows.apply(x, rows)  # type: ignore[no-any-return]


class _TakeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:  # torch's context, to which anything may be attached
        ctx.save_for_backward(rows)
        ctx.length, ctx.dtype = len(x), x.dtype
        return x.index_select(0, rows.flatten()).view(*rows.shape, *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (rows,) = ctx.saved_tensors
        # The gradient of a row that sixteen samples share is a sum of sixteen, which bfloat16 would round at each
        # addition.
        total = grad.new_zeros((ctx.length, *grad.shape[rows.dim() :]), dtype=torch.float32)
        total.index_add_(0, rows.flatten(), grad.flatten(0, rows.dim() - 1).float())
        return total.to(ctx.dtype), None
