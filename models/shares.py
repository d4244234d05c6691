"""Finds a rank's share of a pack that a group of ranks divides (see `models.sequence_parallel`), and joins the results.

Suffixes: A actions of a pack, a those of a rank's share, U tokens that go through the trunk, S those of a rank's share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from models.sequence_parallel import SequenceGroup
from models.shared_prompts import Trunk
from models.varlen import send


@dataclass(frozen=True, slots=True)
class Share:
    """A rank's share of a pack."""

    group: SequenceGroup
    tokens_S: Tensor
    """Indices in the batch of its tokens."""
    positions_S: Tensor
    """Position of each within its sequence."""
    before_a: Tensor
    """Index in S of the token before each of its actions, those whose logits come from its slice."""
    own_a: Tensor | None = None
    """Indices in A of its actions; None where it has them all."""
    order_A: Tensor | None = None
    """Index of each action among those of all ranks end to end."""
    counts: Sequence[int] = ()
    """Actions of each rank."""

    def to(self, device: torch.device) -> Share:
        """Return it with its tensors on `device`."""
        own_a, order_A = (None if x is None else send(x, device) for x in (self.own_a, self.order_A))
        tokens_S, positions_S = send(self.tokens_S, device), send(self.positions_S, device)
        return Share(self.group, tokens_S, positions_S, send(self.before_a, device), own_a, order_A, self.counts)

    def select(self, values_A: Tensor) -> Tensor:
        """Return the entries of this rank's actions."""
        return values_A if self.own_a is None else values_A[self.own_a]

    def join(self, *values_a: Tensor) -> tuple[Tensor, ...]:
        """Return each of the tensors with the entries of all ranks' actions [A]. Collective."""
        return values_a if self.own_a is None else cast("tuple[Tensor, ...]", _Join.apply(self, *values_a))


def share_of(group: SequenceGroup, trunk: Trunk) -> Share:
    """Return a rank's share of a pack, whose tokens the ranks of its group divide evenly. All tensors are on the CPU."""
    if group.size == 1:
        return Share(group, trunk.tokens_U, trunk.segments.positions_T, trunk.before_A)
    tokens = len(trunk.tokens_U) // group.size
    slice_S = slice(group.rank * tokens, (group.rank + 1) * tokens)
    owner_A = trunk.before_A // tokens  # the rank that has the state before each action
    own_a = torch.nonzero(owner_A == group.rank)[:, 0]
    before_a = trunk.before_A[own_a] - slice_S.start
    counts = cast("list[int]", owner_A.bincount(minlength=group.size).tolist())
    # The first sort lists the actions by rank, as they will be gathered; the second inverts it: each action's place in
    # the list.
    order_A = owner_A.argsort(stable=True).argsort()
    positions_S = trunk.segments.positions_T[slice_S]
    return Share(group, trunk.tokens_U[slice_S], positions_S, before_a, own_a, order_A, counts)


class _Join(torch.autograd.Function):
    """Return columns [A] from the entries [a] that each rank has. Every rank computes the whole loss from them, so that its
    entries' gradient is complete without the others'."""

    @staticmethod
    def forward(ctx: Any, share: Share, *values_a: Tensor) -> tuple[Tensor, ...]:
        ctx.own_a = share.own_a
        ctx.set_materialize_grads(False)  # a column that nobody uses has no gradient, whose work is spared
        mine = torch.stack(values_a)
        # Padded to the same length on every rank, as `all_gather` requires.
        outgoing = mine.new_zeros(len(values_a), max(share.counts))
        outgoing[:, : mine.shape[1]] = mine
        incoming = [torch.empty_like(outgoing) for _ in share.counts]
        dist.all_gather(incoming, outgoing, group=share.group.ranks)
        parts = [part[:, :count] for part, count in zip(incoming, share.counts, strict=True)]
        return torch.cat(parts, dim=1)[:, share.order_A].unbind()

    @staticmethod
    def backward(ctx: Any, *grads_A: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return None, *(None if grad_A is None else grad_A[ctx.own_a] for grad_A in grads_A)
