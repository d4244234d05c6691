"""Sequence parallelism of the Ulysses kind (arXiv 2309.14509): the ranks of a group share the tokens of each pack.

A rank takes an equal slice of the tokens through embeddings, norms, feed-forward layers and head. Attention alone needs whole
sequences: before it the ranks exchange slices for heads, so that each has all tokens for its share of the heads; after it
they exchange back. DeepSpeed's `UlyssesSPAttentionHF` does the same for batches that are packed by position ids; here the
pack's segments tell sequences apart, and any number of key heads divides.

A rank's gradient is what its slice contributes. The sum over the ranks, which the trainer takes anyway, is the whole one.

Suffixes: U tokens of a pack that go through the trunk, S those of a slice, G ranks of a group, F numbers of a token for one of
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SequenceGroup:
    """The ranks that share packs; `ALONE` is a rank that shares with nobody."""

    ranks: dist.ProcessGroup | None
    rank: int
    """Number of this rank within the group."""
    size: int

    def gather_tokens(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values [1, heads / G, U, size] of all tokens, for this rank's share of the heads, from
        those [1, heads, S, size] of this rank's tokens, for all heads. Collective."""
        # Key heads are repeated until the ranks can divide them; a rank then has exactly those that its queries attend
        # to.
        copies = self.size // gcd(self.size, key.shape[1])
        key, value = (x.repeat_interleave(copies, 1) if copies > 1 else x for x in (key, value))
        # One exchange for all three: [heads, S, size] → [G, S, F], F = heads / G × size.
        parts = [_unflatten(x[0], (self.size, -1)).transpose(1, 2) for x in (query, key, value)]
        exchanged = self._exchange(torch.cat([part.flatten(2) for part in parts], dim=2)).flatten(0, 1)  # [U, F]
        pieces = cast("tuple[Tensor, ...]", exchanged.split([part.shape[2:].numel() for part in parts], dim=1))
        query, key, value = (
            piece.view(-1, *part.shape[2:]).transpose(0, 1)[None] for piece, part in zip(pieces, parts, strict=True)
        )
        return query, key, value

    def gather_heads(self, out: Tensor) -> Tensor:
        """Return what attention gives this rank's tokens [1, S, heads, size], from what it gives all tokens in this rank's
        share of the heads [1, U, heads / G, size]. Collective."""
        pieces = self._exchange(_unflatten(out[0], (self.size, -1)))  # [G, S, heads / G, size]
        return pieces.transpose(0, 1).flatten(1, 2)[None]

    def _exchange(self, parts_G: Tensor) -> Tensor:
        return cast("Tensor", _Exchange.apply(parts_G, self.ranks))


def _unflatten(x: Tensor, sizes: tuple[int, int]) -> Tensor:
    return cast("Tensor", x.unflatten(0, sizes))  # torch leaves it untyped


ALONE = SequenceGroup(None, 0, 1)


class _Exchange(torch.autograd.Function):
    """Send part i of a tensor [G, …] to rank i, and return the parts that the ranks sent, in their order. Its own inverse."""

    @staticmethod
    def forward(ctx: Any, parts_G: Tensor, ranks: dist.ProcessGroup) -> Tensor:
        ctx.ranks = ranks
        parts_G = parts_G.contiguous()
        received_G = torch.empty_like(parts_G)
        dist.all_to_all_single(received_G, parts_G, group=ranks)
        return received_G

    @staticmethod
    def backward(ctx: Any, grad_G: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return cast("Tensor", _Exchange.apply(grad_G, ctx.ranks)), None
