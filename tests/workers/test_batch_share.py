"""A rank is sent the rows that it computes, and the counts of the others; nothing that it computes from them changes."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.types import Batch, Clip
from rl.workers.batch_share import FORWARD_DUMMY, cut_batch, rows_of
from rl.workers.packing import plan_forward, plan_steps
from rl.workers.trainer_config import TrainerConfig

CLIP = Clip(data=b"x" * 1000)


def batch(lengths: list[int], groups: int = 1) -> Batch:
    """Sequences whose prompts have two tokens, in groups of so many."""
    draw, count, total = torch.Generator().manual_seed(0), len(lengths), sum(lengths)
    mask_T = torch.cat([torch.arange(n) >= 2 for n in lengths])
    actions = int(mask_T.sum())
    return Batch(
        tokens_T=torch.randint(0, 9, (total,), generator=draw),
        lengths_N=torch.tensor(lengths),
        action_mask_T=mask_T,
        rollout_logprobs_A=torch.randn(actions, generator=draw),
        scores_N=torch.randn(count, generator=draw),
        groups_N=torch.arange(count) // groups,
        clips_N=((CLIP,),) * count,
        names_N=tuple(f"p{i}" for i in range(count)),
    ).add(advantages=torch.randn(actions, generator=draw))


def equal(one: Batch, other: Batch) -> bool:
    """Bit for bit, in every column."""
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@given(
    lengths=st.lists(st.integers(3, 40), min_size=1, max_size=20),
    ranks=st.integers(1, 5),
    budget=st.integers(1, 200),
    groups=st.integers(1, 4),
)
def test_each_row_goes_to_the_rank_that_computes_it(lengths: list[int], ranks: int, budget: int, groups: int) -> None:
    whole, config = batch(lengths, groups), TrainerConfig(ranks=ranks, tokens_per_microbatch=budget)
    plans = plan_forward(whole, config, ranks)
    shares = cut_batch(whole, [rows_of(plan, FORWARD_DUMMY) for plan in plans])
    idle = [not all(plan) for plan in plans]  # beside its own rows such a rank computes the dummy
    rows = [row for share in shares for row in share.rows]
    assert len(rows) <= len(lengths) + sum(idle)
    assert {*rows} == {*range(len(lengths))}
    for share, plan in zip(shares, plans, strict=True):
        assert len(share) == len(lengths), "rows are counted as in the whole batch"
        assert torch.equal(share.actions_N, whole.actions_N)
        for micro_batch in plan:
            assert equal(share.select(micro_batch or FORWARD_DUMMY), whole.select(micro_batch or FORWARD_DUMMY))


@pytest.mark.parametrize("in_pairs", [False, True])
def test_what_four_ranks_receive_of_an_update_is_the_batch_once(in_pairs: bool) -> None:
    whole, config = batch([10] * 32), TrainerConfig(ranks=4, tokens_per_microbatch=40)
    plans = plan_steps(whole, [range(16), range(16, 32)], [0.1, 0.1], config, 4, in_pairs)
    shares = cut_batch(whole, [{r for s in plan for r in rows_of(s.micro_batches, s.dummy)} for plan in plans])
    assert [len(share.batch.tokens_T) for share in shares] == [80] * 4
    assert [len(share.batch.clips_N) for share in shares] == [8] * 4
    for share, plan in zip(shares, plans, strict=True):
        for step in plan:
            for micro_batch in step.micro_batches:
                assert equal(share.select(micro_batch), whole.select(micro_batch))
    assert (
        shares[0].describe(shares[0].rows[1])
        == f"sequence {shares[0].rows[1] + 1} of 32 (prompt 'p{shares[0].rows[1]}')"
    )


def test_a_rank_without_rows_is_sent_what_keeps_it_in_step() -> None:
    whole = batch([10, 20])
    plans = plan_steps(whole, [range(2)], [0.1], TrainerConfig(ranks=3), 3, in_pairs=True)
    shares = cut_batch(whole, [{r for s in plan for r in rows_of(s.micro_batches, s.dummy)} for plan in plans])
    assert [tuple(share.rows) for share in shares] == [(0, 1)] * 3, "a pair is a pair"
    plans = plan_steps(whole, [range(2)], [0.1], TrainerConfig(ranks=3), 3)
    shares = cut_batch(whole, [{r for s in plan for r in rows_of(s.micro_batches, s.dummy)} for plan in plans])
    assert sorted(tuple(share.rows) for share in shares) == [(0,), (0,), (1,)]


def test_ranks_that_share_sequences_are_sent_one_copy() -> None:
    whole = batch([10] * 8)
    plans = plan_forward(whole, TrainerConfig(ranks=4, sequence_parallel=2, tokens_per_microbatch=20), 4)
    shares = cut_batch(whole, [rows_of(plan, FORWARD_DUMMY) for plan in plans])
    assert (shares[0] is shares[1], shares[1] is shares[2], shares[2] is shares[3]) == (True, False, True)
