"""One rank's share of an optimiser step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OptimiserStep:
    """One rank's share of one optimiser step."""

    rows: Sequence[int]
    """Rows of the batch in this step, those of all ranks: the loss is normalised over them."""
    micro_batches: Sequence[Sequence[int]]
    """The rows that this rank computes, in micro-batches: equally many on every rank, so that some may be empty. ZeRO's
    communication is collective: a rank with fewer would leave the others waiting."""
    learning_rate: float
    dummy: Sequence[int]
    """Rows that stand in for those of an empty micro-batch, with weight 0."""
