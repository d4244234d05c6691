"""Ragged batches for the tests of algorithms, the same in verl's padded layout, and cut into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from rl.types import Batch

SEEDS = st.integers(0, 2**31)
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def ragged(
    actions: Sequence[int],
    scores: Sequence[float] | None = None,
    groups: Sequence[int] | None = None,
    gaps: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    **columns: Tensor | Sequence[float],
) -> Batch:
    """Two prompt tokens, then the actions; after the first action of a sequence, `gaps` tokens that were not written."""
    n, gaps = len(actions), gaps or [0] * len(actions)
    written = [[False, False, True, *[False] * g, *[True] * (a - 1)] for a, g in zip(actions, gaps, strict=True)]
    action_mask_T = torch.tensor([w for row in written for w in row])
    as_A = {k: torch.as_tensor(v, dtype=dtype) for k, v in columns.items()}
    return Batch(
        tokens_T=torch.arange(len(action_mask_T)),
        lengths_N=torch.tensor([len(row) for row in written]),
        action_mask_T=action_mask_T,
        rollout_logprobs_A=as_A.pop("rollout_logprobs", torch.zeros(sum(actions), dtype=dtype)),
        scores_N=torch.as_tensor(scores or [0.0] * n, dtype=dtype),
        groups_N=torch.tensor(groups or list(range(n))),
    ).add(**as_A)


def random_batch(seed: int, actions: Sequence[int], groups: Sequence[int] | None = None) -> Batch:
    """Every column present, float64: logprob-like columns a little apart, advantages and values normal."""
    draw = torch.Generator().manual_seed(seed)

    def normal(scale: float = 1.0, shift: float = 0.0) -> Tensor:
        return shift + scale * torch.randn(sum(actions), generator=draw, dtype=torch.float64)

    old = normal(0.5, -1.5)
    return ragged(
        actions,
        scores=torch.randint(0, 5, (len(actions),), generator=draw).div(4).tolist(),
        groups=groups or torch.randint(0, 3, (len(actions),), generator=draw).tolist(),
        rollout_logprobs=old + normal(0.2),
        old=old,
        ref=old + normal(0.5),
        values=normal(),
        advantages=normal(),
        returns=normal(),
        teacher=old + normal(0.5),
    )


def mask(batch: Batch) -> Tensor:
    """[N, longest] verl's response mask: tokens after the prompt, zeros where nothing was written. In float32, where the
    1e-8 that verl adds to counts rounds away, as it does in its trainer."""
    rows = batch.action_mask_T.split(batch.lengths_N.tolist())
    return torch.nn.utils.rnn.pad_sequence([row[2:] for row in rows], batch_first=True).float()


def padded(x_A: Tensor, batch: Batch) -> Tensor:
    """[N, longest] verl's layout, with gradient."""
    return torch.zeros_like(mask(batch), dtype=x_A.dtype).masked_scatter(mask(batch).bool(), x_A)


def flat(x_NL: Tensor, batch: Batch) -> Tensor:
    """[A] back from verl's layout."""
    return x_NL[mask(batch).bool()]


def take(batch: Batch, sequences: Sequence[int]) -> tuple[Batch, Tensor]:
    """The micro-batch of these sequences in this order, and which actions of the whole they are."""
    action_rows = torch.arange(len(batch.rollout_logprobs_A)).split(batch.actions_N.tolist())
    token_rows = torch.arange(len(batch.tokens_T)).split(batch.lengths_N.tolist())
    index = {
        "A": torch.cat([action_rows[i] for i in sequences]),
        "T": torch.cat([token_rows[i] for i in sequences]),
        "N": torch.tensor(sequences),
    }
    names = [f.name for f in fields(batch) if isinstance(getattr(batch, f.name), Tensor)]
    return replace(batch, **{name: getattr(batch, name)[index[name[-1]]] for name in names}), index["A"]
