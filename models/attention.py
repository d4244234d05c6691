"""Causal attention within each sequence of a pack.

A pack is sequences end to end, without padding. transformers' own ways to keep neighbours apart do not do: reset position
ids isolate only without a mask and without a cache (otherwise logits leak by 0.7–1.0, in silence), and a dense mask costs
T² (128 × 72 tokens in packs of 32, one thread: 5.2 s masked, 1.6 s segment by segment).

Here sequences of similar length, a bucket, are laid side by side, padded on the right, so that one kernel call serves
many of them and no work grows with the pack.

Suffixes: T tokens of the pack, N its sequences, n those of one bucket, L the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "segments"
"""Name of this attention among transformers' implementations."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Index tensors that take a pack apart and put it together; computed once a pack, used by every layer."""

    positions_T: Tensor
    """Position of each token within its sequence."""
    buckets: tuple[Tensor, ...]
    """[n, L] for each bucket: pack indices of its tokens, where padding repeats the sequence's last token."""
    restore_T: Tensor
    """Index of each pack token in the buckets laid end to end."""

    @classmethod
    def from_lengths(cls, lengths_N: Tensor) -> Segments:
        """Return the segments of a pack from its sequences' lengths, in pack order."""
        lengths = cast("list[int]", lengths_N.tolist())  # torch leaves `tolist` untyped
        starts = cast("list[int]", (lengths_N.cumsum(0) - lengths_N).tolist())
        members_by_size: dict[int, list[int]] = {}
        for i, length in enumerate(lengths):
            # By the bits of length²: lengths within a factor of √2 share a bucket, so padding is less than 30 % of it.
            members_by_size.setdefault((length * length).bit_length(), []).append(i)
        restore_T = torch.empty(int(lengths_N.sum()), dtype=torch.long)
        buckets: list[Tensor] = []
        offset = 0  # of the bucket among all buckets' entries, padding included
        for members in members_by_size.values():
            longest = max(int(lengths_N[i]) for i in members)
            start_n1 = torch.tensor([starts[i] for i in members])[:, None]
            last_n1 = lengths_N[members][:, None] - 1
            position_L = torch.arange(longest)
            # Padding must be some token's index; causality keeps every real token from seeing what comes after it.
            rows_nL = start_n1 + torch.minimum(position_L, last_n1)
            real_nL = position_L <= last_n1
            restore_T[rows_nL[real_nL]] = offset + torch.arange(rows_nL.numel()).view_as(rows_nL)[real_nL]
            buckets.append(rows_nL)
            offset += rows_nL.numel()
        starts_N = (lengths_N.cumsum(0) - lengths_N).repeat_interleave(lengths_N)
        return cls(torch.arange(len(restore_T)) - starts_N, tuple(buckets), restore_T)

    def to(self, device: torch.device) -> Segments:
        """Return the segments with their tensors on `device`."""
        return Segments(
            self.positions_T.to(device), tuple(b.to(device) for b in self.buckets), self.restore_T.to(device)
        )


def register() -> None:
    """Make `attn_implementation="segments"` known to transformers. Idempotent."""
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, segment_attention)
    # Without this entry transformers would build a dense [T, T] mask; None tells it to pass none.
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: object, **__: object) -> None:
    return None


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Compute causal attention within each sequence, under transformers' signature for attention functions.

    query [1, heads, T, size], key and value [1, kv_heads, T, size] -> ([1, T, heads, size], None). With a
    `sliding_window` a token sees itself and the `sliding_window` - 1 before it."""
    assert attention_mask is None, "a pack has no mask"
    # `models.supported` refuses such models at loading: without the sinks scores would be wrong in silence.
    assert s_aux is None, "refused when the model is loaded"
    enable_gqa = query.shape[1] != key.shape[1]  # fewer heads of keys than of queries
    qkv = [x[0].transpose(0, 1) for x in (query, key, value)]  # [T, heads, size]
    outputs: list[Tensor] = []
    for rows_nL in segments.buckets:
        q, k, v = (x[rows_nL].transpose(1, 2) for x in qkv)  # [n, heads, L, size]
        visible_LL = _sliding_mask(rows_nL.shape[1], sliding_window, query.device)
        if softcap is None:
            out = scaled_dot_product_attention(
                q, k, v, visible_LL, dropout, is_causal=visible_LL is None, scale=scaling, enable_gqa=enable_gqa
            )
        else:
            out = _capped_attention(q, k, v, visible_LL, dropout, scaling, softcap)
        outputs.append(out.transpose(1, 2).flatten(0, 1))  # [n × L, heads, size]
    # Back into pack order; what was computed for padding is left out.
    return torch.cat(outputs)[segments.restore_T][None], None


def _capped_attention(
    q: Tensor, k: Tensor, v: Tensor, visible_LL: Tensor | None, dropout: float, scaling: float | None, softcap: float
) -> Tensor:
    """Compute causal attention whose scores are bounded, softcap × tanh(score / softcap) (Gemma 2): no kernel of torch's does.

    q [n, heads, L, size], k and v [n, kv_heads, L, size] -> [n, heads, L, size]."""
    heads_per_kv, length = q.shape[1] // k.shape[1], q.shape[2]
    k, v = k.repeat_interleave(heads_per_kv, 1), v.repeat_interleave(heads_per_kv, 1)
    scores_nhLL = q @ k.transpose(2, 3) * (scaling or q.shape[3] ** -0.5)
    scores_nhLL = softcap * torch.tanh(scores_nhLL / softcap)
    if visible_LL is None:
        visible_LL = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    scores_nhLL = scores_nhLL.masked_fill(~visible_LL, float("-inf"))  # after the cap, which would bound the mask too
    shares_nhLL = torch.softmax(scores_nhLL, -1, dtype=torch.float32).to(q.dtype)
    return torch.dropout(shares_nhLL, dropout, dropout > 0) @ v


def _sliding_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Return [L, L] bool, True where a token (row) sees another (column) through a sliding window, or None."""
    if window is None or length <= window:
        return None  # plain causality, for which the kernel needs no mask
    ones_LL = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones_LL.tril().triu(1 - window)
