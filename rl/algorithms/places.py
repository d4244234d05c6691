"""The reward that is still to come at each place of a sample, where rewards are paid before its end.

An advantage that compares the samples of a group gives all actions of a sample the same credit. Where `reward_at` pays parts of
the score earlier, what was paid before an action is no merit of that action. So samples are compared place by place, each by
what is still to come of its score there: at the first place that is the score, and where nothing is paid early all places are
the first. Turns are compared with turns of the same number (as in MT-GRPO, arXiv 2505.11821), actions with actions of the same
number (as in verl's token baselines). What is paid at the end counts for the whole sample, however long it is.

    two samples of a group, paid by spans    a  0.5 0   0.5      to come  1.0 0.5 0.5      less the mean   0.25 0 0
                                             b  0   0   0.5               0.5 0.5 0.5                     -0.25 0 0

Shape legend as in `advantages`, and P places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rl.messages import RewardAt
from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


def rewards_to_come(batch: Batch, sums_N: Tensor, reward_at: RewardAt) -> tuple[Tensor, Tensor]:
    """Return [N, P] what is still to come of each sequence's sum at each place, and [A] the place of each action. A place is a
    stretch of turns or actions, of all sequences, within which nothing is paid."""
    import torch

    actions_N, number_A = batch.actions_N, action_numbers(batch, reward_at)
    sequence_A = torch.arange(len(actions_N), device=number_A.device).repeat_interleave(actions_N)
    is_paid_A = batch.placed_A != 0
    # The numbers at which anything is paid: P is their count, not the longest sequence.
    paid_numbers = cast("Tensor", number_A[is_paid_A].unique())  # torch leaves the type of `unique` open
    place_A = torch.searchsorted(paid_numbers, number_A)  # how many of these numbers come before the action's
    paid_NP = sums_N.new_zeros((len(actions_N), len(paid_numbers) + 1), dtype=torch.float64)
    # Counted from the place after it: the action itself has earned it.
    cells = (sequence_A[is_paid_A], place_A[is_paid_A] + 1)
    paid_NP.index_put_(cells, batch.placed_A[is_paid_A].double(), accumulate=True)
    return sums_N[:, None] - paid_NP.cumsum(1), place_A


def action_numbers(batch: Batch, reward_at: RewardAt) -> Tensor:
    """Return [A] the number of each action in its sequence, or with `turns` the number of the turn that it is part of. A turn
    ends where a token follows that the policy did not write."""
    import torch

    actions_N = batch.actions_N
    first_A = (actions_N.cumsum(0) - actions_N).repeat_interleave(actions_N)  # index of the sequence's first action
    if reward_at == "spans":
        return torch.arange(len(first_A), device=first_A.device) - first_A
    tokens_A = batch.action_mask_T.nonzero().flatten()
    # Also where a sequence begins: its prompt stands between.
    begins_A = torch.nn.functional.pad((tokens_A[1:] != tokens_A[:-1] + 1).long(), (1, 0))
    turn_A = begins_A.cumsum(0)
    return turn_A - turn_A[first_A]
