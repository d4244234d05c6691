"""Ratios of two policies' probabilities over the sequences of a ragged batch.

Shape legend: N sequences, A actions of all sequences laid end to end. Written with tensor methods alone, so that importing it
needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

LOG_RATIO_BOUND = 20.0  # as in verl; exp of it is 4.9e8, finite in float32
PER_SEQUENCE = "/sequences"
"""End of the name of a diagnostic with one entry for each sequence."""


def bound(log_ratio_A: Tensor) -> Tensor:
    """Return the log ratio clamped so that its exp is finite and its inverse not 0."""
    return log_ratio_A.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def over_sequences(x_A: Tensor, batch: Batch, mean: bool) -> Tensor:
    """Return [A] the sum, or the mean, over each action's sequence."""
    sequence_A = sequence_of(batch)
    # In double, so that the sum hardly depends on the order in which the device adds.
    sum_N = x_A.double().new_zeros(len(batch)).index_add(0, sequence_A, x_A.double())
    return (sum_N / batch.actions_N if mean else sum_N)[sequence_A].to(x_A.dtype)


def sequence_of(batch: Batch) -> Tensor:
    """Return [A] the index of each action's sequence: 0 0 0 1 1 …"""
    return (batch.actions_N.new_ones(len(batch)).cumsum(0) - 1).repeat_interleave(batch.actions_N)
