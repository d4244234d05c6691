"""Causal attention within each sequence of a pack.

A pack is sequences end to end, without padding. transformers' own ways to keep neighbours apart do not suffice:
position ids that start anew isolate only without a mask and without a cache (otherwise logits are silently wrong by
0.7–1.0), and a dense mask costs T² (128 × 72 tokens in packs of 32, one thread: 5.2 s masked, 1.6 s segment by
segment).

On a GPU, in 16 bits, one kernel takes the sequences as they lie (`models.varlen`). Elsewhere sequences of similar length, a
bucket, are laid side by side, padded on the right, so that one kernel call serves many of them and no work grows with the
pack.

The samples of a group share their prompt's keys and values (`models.shared_prompts`): such a sequence attends to tokens that
lie elsewhere in the pack.

Suffixes: T tokens of the pack, N its sequences, n those of one bucket, L the longest of them, P the longest of the beginnings
that they share, K = P + L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from models.varlen import EndToEnd, Span, capability_of, choose_kernel, send, take_rows, varlen_attention

if TYPE_CHECKING:
    from models.sequence_parallel import SequenceGroup

NAME = "segments"
"""Name of this attention among transformers' implementations."""
HOST = torch.device("cpu")
HIDDEN = 1 << 40
"""Position of padding among keys: later than any query's, so that none sees it."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Sequences of similar length side by side, as pack indices of their queries and keys."""

    queries_nL: Tensor
    """Pack indices of the queries; padding repeats the sequence's last token."""
    keys_nK: Tensor
    """Pack indices of the keys: the queries' own tokens, after a beginning that is shared, if any."""
    query_positions_nL: Tensor
    """Position of each query within its own sequence."""
    key_positions_nK: Tensor
    """Position of each key; `HIDDEN` where it is padding that no query may see."""

    @property
    def is_plain(self) -> bool:
        """True for whole sequences, of which every token sees those before it."""
        return self.keys_nK is self.queries_nL

    def visible(self, window: int | None) -> Tensor | None:
        """Return a bool mask that broadcasts to [n, 1, L, K], True where a query sees a key; None where causality alone
        decides."""
        if self.is_plain and (window is None or self.queries_nL.shape[1] <= window):
            return None
        # All rows of plain sequences have the same positions, so one mask serves all.
        rows = slice(0, 1) if self.is_plain else slice(None)
        age_nLK = self.query_positions_nL[rows, :, None] - self.key_positions_nK[rows, None, :]
        seen_nLK = age_nLK >= 0
        return (seen_nLK if window is None else seen_nLK & (age_nLK < window))[:, None]

    def to(self, device: torch.device) -> Bucket:
        """Return the bucket with its tensors on `device`."""
        queries_nL = send(self.queries_nL, device)
        keys_nK = queries_nL if self.is_plain else send(self.keys_nK, device)
        return Bucket(queries_nL, keys_nK, send(self.query_positions_nL, device), send(self.key_positions_nK, device))


@dataclass(frozen=True, slots=True)
class Padded:
    """Index tensors that take a pack apart into buckets and put it together."""

    buckets: tuple[Bucket, ...]
    restore_T: Tensor
    """Index of each pack token in the buckets' queries laid end to end."""

    @classmethod
    def from_spans(cls, spans: Sequence[Span], device: torch.device) -> Padded:
        """Return the buckets of sequences, some of which may share the beginning of another."""
        members_by_size: dict[tuple[int, int], list[Span]] = {}
        for span in spans:
            # By the bits of length²: lengths within a factor of √2 share a bucket, so padding is less than 30 % of it.
            size = (_square_bits(span.length), _square_bits(span.shared))
            members_by_size.setdefault(size, []).append(span)
        restore_T = torch.empty(sum(span.length for span in spans), dtype=torch.long)
        buckets: list[Bucket] = []
        offset = 0  # of the bucket among all buckets' entries, padding included
        for members in members_by_size.values():
            bucket = _bucket(members)
            rows_nL = bucket.queries_nL
            lengths_n1 = torch.tensor([member.length for member in members])[:, None]
            real_nL = torch.arange(rows_nL.shape[1]) < lengths_n1
            restore_T[rows_nL[real_nL]] = offset + torch.arange(rows_nL.numel()).view_as(rows_nL)[real_nL]
            buckets.append(bucket.to(device))
            offset += rows_nL.numel()
        return cls(tuple(buckets), send(restore_T, device))


@dataclass(frozen=True)
class Segments:
    """The sequences of a pack. The layouts that kernels need are computed once for each pack, when the first layer
    asks."""

    spans: tuple[Span, ...]
    """Spans of the sequences, which follow each other and fill the pack."""
    device: torch.device = HOST
    """Device of the tensors below."""

    @classmethod
    def from_lengths(cls, lengths_N: Tensor) -> Segments:
        """Return the segments of a pack from its sequences' lengths, in pack order."""
        lengths = cast("list[int]", lengths_N.tolist())  # torch leaves `tolist` untyped
        return cls(tuple(Span(start, length) for start, length in zip(_starts(lengths), lengths, strict=True)))

    @cached_property
    def positions_T(self) -> Tensor:
        """Position of each token within its sequence."""
        pieces = [torch.arange(span.shared, span.shared + span.length) for span in self.spans]
        return send(torch.cat(pieces), self.device)

    @cached_property
    def padded(self) -> Padded:
        """Buckets of sequences, for kernels that want sequences of one length."""
        return Padded.from_spans(self.spans, self.device)

    @cached_property
    def end_to_end(self) -> EndToEnd:
        """Starts of the sequences, for the kernel that takes them as they lie."""
        return EndToEnd.from_spans(self.spans, self.device)

    def to(self, device: torch.device) -> Segments:
        """Return the segments with their tensors on `device`."""
        return self if device == self.device else Segments(self.spans, device)


def _bucket(members: list[Span]) -> Bucket:
    """Return the bucket of sequences that are all whole, or all share a beginning."""
    queries_nL, real_nL = _rows([(member.start, member.length) for member in members])
    shared_n1 = torch.tensor([member.shared for member in members])[:, None]
    positions_nL = torch.arange(queries_nL.shape[1]) + shared_n1
    if not members[0].shared:
        # Padding needs a valid index. No real token sees it: it comes after them, and attention is causal.
        return Bucket(queries_nL, queries_nL, positions_nL, positions_nL)
    # A padded query sees what its sequence's last token sees: without any key to see, as beyond a sliding window, its
    # softmax would be NaN, and so would the gradients.
    query_positions_nL = torch.minimum(positions_nL, shared_n1 + torch.tensor([m.length for m in members])[:, None] - 1)
    prompts_nP, real_nP = _rows([(member.shared_start, member.shared) for member in members])
    prompt_positions_nP = torch.arange(prompts_nP.shape[1]).expand_as(prompts_nP).masked_fill(~real_nP, HIDDEN)
    own_positions_nL = positions_nL.masked_fill(~real_nL, HIDDEN)
    return Bucket(
        queries_nL,
        torch.cat([prompts_nP, queries_nL], dim=1),
        query_positions_nL,
        torch.cat([prompt_positions_nP, own_positions_nL], dim=1),
    )


def _rows(pieces: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Return (pack indices [n, L] of pieces (start, length), padded with each one's last, and a mask of what is real)."""
    starts_n1, lengths_n1 = torch.tensor(pieces).T[:, :, None]
    position_L = torch.arange(int(lengths_n1.max()))
    return starts_n1 + torch.minimum(position_L, lengths_n1 - 1), position_L < lengths_n1


def _starts(lengths: list[int]) -> list[int]:
    return [end - length for end, length in zip(accumulate(lengths), lengths, strict=True)]


def _square_bits(length: int) -> int:
    return (length * length).bit_length()


def register() -> None:
    """Make `attn_implementation="segments"` known to transformers. Idempotent."""
    from transformers.modeling_utils import AttentionInterface

    # Registered as an attention function without a mask function: so transformers builds no mask, and does not look for
    # packed sequences, which on a GPU would wait for all work before it.
    AttentionInterface.register(NAME, segment_attention)


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments,
    sequence_group: SequenceGroup | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Compute causal attention within each sequence, under transformers' signature for attention functions.

    query [1, heads, T, size], key and value [1, kv_heads, T, size] -> ([1, T, heads, size], None). With a
    `sliding_window` a token sees itself and the `sliding_window` - 1 before it. The ranks of a `sequence_group` have a slice
    of the tokens each, and swap it for a share of the heads meanwhile."""
    assert attention_mask is None, "a pack has no mask"
    # `models.supported` refuses models with attention sinks when they are loaded: without the sinks scores would be
    # silently wrong.
    assert s_aux is None, "refused when the model is loaded"
    if sequence_group is not None:
        query, key, value = sequence_group.gather_tokens(query, key, value)
    q, k, v = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))  # [T, heads, size]
    sizes = q.shape[2], v.shape[2]
    if choose_kernel(q.device.type, capability_of(q.device), q.dtype, sizes, dropout, softcap) == "varlen":
        out = varlen_attention(q, k, v, segments.end_to_end, sliding_window, scaling)[None]
    else:
        out = _padded_attention(q, k, v, segments.padded, sliding_window, scaling, dropout, softcap)[None]
    return out if sequence_group is None else sequence_group.gather_heads(out), None


def _padded_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padded: Padded,
    window: int | None,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
) -> Tensor:
    """Compute attention bucket by bucket; q [T, heads, size], k and v [T, kv_heads, size] -> [T, heads, size]."""
    outputs: list[Tensor] = []
    for bucket in padded.buckets:
        q_nhLs = take_rows(q, bucket.queries_nL).transpose(1, 2)
        k_nhKs, v_nhKs = (take_rows(x, bucket.keys_nK).transpose(1, 2) for x in (k, v))
        visible = bucket.visible(window)
        if softcap is None:
            # With a mask, or in float32, torch's kernels on a GPU need as many key heads as query heads; otherwise
            # torch falls back on one that holds all scores.
            if visible is not None or q.device.type != "cpu":
                k_nhKs, v_nhKs = _repeat_heads(q_nhLs, k_nhKs, v_nhKs)
            is_gqa = q_nhLs.shape[1] != k_nhKs.shape[1]
            out_nhLs = scaled_dot_product_attention(
                q_nhLs, k_nhKs, v_nhKs, visible, dropout, is_causal=visible is None, scale=scaling, enable_gqa=is_gqa
            )
        else:
            out_nhLs = _capped_attention(q_nhLs, k_nhKs, v_nhKs, visible, dropout, scaling, softcap)
        outputs.append(out_nhLs.transpose(1, 2).flatten(0, 1))  # [n × L, heads, size]
    # Back into pack order; what was computed for padding is left out.
    return take_rows(torch.cat(outputs), padded.restore_T)


def _repeat_heads(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys and values with as many heads as the queries have."""
    heads_per_kv = q.shape[1] // k.shape[1]
    return k.repeat_interleave(heads_per_kv, 1), v.repeat_interleave(heads_per_kv, 1)


def _capped_attention(
    q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, dropout: float, scaling: float | None, softcap: float
) -> Tensor:
    """Compute attention whose scores are bounded, softcap × tanh(score / softcap) (Gemma 2): no kernel of torch's does.

    q [n, heads, L, size], k and v [n, kv_heads, K, size], `visible` as `Bucket.visible` gives it -> [n, heads, L, size]."""
    k, v = _repeat_heads(q, k, v)
    scores_nhLK = q @ k.transpose(2, 3) * (scaling or q.shape[3] ** -0.5)
    scores_nhLK = softcap * torch.tanh(scores_nhLK / softcap)
    if visible is None:
        visible = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
    scores_nhLK = scores_nhLK.masked_fill(~visible, float("-inf"))  # after the cap, which would bound the mask too
    shares_nhLK = torch.softmax(scores_nhLK, -1, dtype=torch.float32).to(q.dtype)
    return torch.dropout(shares_nhLK, dropout, dropout > 0) @ v
