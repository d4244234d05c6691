"""Causal attention within each sequence of a pack.

A pack is sequences end to end. transformers' own way to isolate neighbours (reset position ids) holds only without a
mask and without a cache, and a dense mask costs T². Here sequences of similar length are laid side by side, padded on
the right (causality alone keeps real tokens from seeing the padding), so that one kernel call serves many of them and
no work grows with the pack.

Legend: T tokens of the pack, n sequences of one bucket, L the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "segments"


@dataclass(frozen=True, slots=True)
class Segments:
    """Where the sequences of a pack lie; made once per pack, used by every layer."""

    positions_T: Tensor
    """Position of each token within its sequence."""
    buckets: tuple[Tensor, ...]
    """Each [n, L]: pack indices of the bucket's tokens; padding repeats the sequence's last token."""
    restore_T: Tensor
    """Index of each pack token in the buckets laid end to end."""

    @classmethod
    def from_lengths(cls, lengths_N: Tensor) -> Segments:
        """From the lengths of the sequences, in pack order."""
        starts = (lengths_N.cumsum(0) - lengths_N).tolist()
        by_size: dict[int, list[int]] = {}
        for i, length in enumerate(lengths_N.tolist()):  # lengths within a factor of √2 share a bucket
            by_size.setdefault((length * length).bit_length(), []).append(i)
        restore_T = torch.empty(int(lengths_N.sum()), dtype=torch.long)
        buckets, offset = [], 0
        for members in by_size.values():
            longest = max(int(lengths_N[i]) for i in members)
            start_n = torch.tensor([starts[i] for i in members])[:, None]
            last_n = lengths_N[members][:, None] - 1
            position_L = torch.arange(longest)
            rows_nL = start_n + torch.minimum(position_L, last_n)
            real_nL = position_L <= last_n
            restore_T[rows_nL[real_nL]] = offset + torch.arange(rows_nL.numel()).view_as(rows_nL)[real_nL]
            buckets.append(rows_nL)
            offset += rows_nL.numel()
        starts_N = (lengths_N.cumsum(0) - lengths_N).repeat_interleave(lengths_N)
        return cls(torch.arange(len(restore_T)) - starts_N, tuple(buckets), restore_T)

    def to(self, device: torch.device) -> Segments:
        return Segments(
            self.positions_T.to(device), tuple(b.to(device) for b in self.buckets), self.restore_T.to(device)
        )


def register() -> None:
    """Makes `attn_implementation="segments"` known to transformers. Idempotent."""
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)


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
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature: query [1, heads, T, size], key and value [1, kv_heads, T, size] ->
    ([1, T, heads, size], None). With a `sliding_window` a token sees itself and the `sliding_window` - 1 before it."""
    assert attention_mask is None, "a pack has no mask"
    assert softcap is None, "refused when the model is loaded"
    assert s_aux is None, "refused when the model is loaded"
    grouped = query.shape[1] != key.shape[1]
    qkv = [x[0].transpose(0, 1) for x in (query, key, value)]  # [T, heads, size]
    attended = []
    for rows_nL in segments.buckets:
        side_by_side = [x[rows_nL].transpose(1, 2) for x in qkv]  # [n, heads, L, size]
        seen_LL = _band(rows_nL.shape[1], sliding_window, query.device)
        out = scaled_dot_product_attention(
            *side_by_side, seen_LL, dropout, is_causal=seen_LL is None, scale=scaling, enable_gqa=grouped
        )
        attended.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended)[segments.restore_T][None], None


def _band(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which of `length` tokens each of them sees through a sliding window; None where that is plain causality, which
    needs no mask."""
    if window is None or length <= window:
        return None
    ones_LL = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones_LL.tril().triu(1 - window)
