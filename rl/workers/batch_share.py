"""One rank's share of a batch: the rows that it computes, and what it must know of the others.

A batch of 10 million tokens is about 400 MB. Sent whole it would cross the network once for each node and each pass; cut,
each row crosses once. Suffixes as in `rl.types`: N, all sequences of the batch; A, tokens that the policy wrote.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


FORWARD_DUMMY = (0,)
"""Rows that a rank computes in a pass forward for an empty micro-batch."""


@dataclass(frozen=True, slots=True)
class BatchShare:
    """Rows of a batch, by their numbers in the whole of it, so that every rank and every message counts alike."""

    rows: Sequence[int]
    """Numbers of the rows that are here, in rising order."""
    batch: Batch
    """These rows alone."""
    actions_N: Tensor
    """Actions of every sequence of the whole batch, those of other ranks too: a loss is normalised over them all."""

    def __len__(self) -> int:
        return self.actions_N.numel()

    def select(self, rows: Sequence[int]) -> Batch:
        """Return the sequences at `rows` of the whole batch, in that order."""
        return self.batch.select([bisect_left(self.rows, row) for row in rows])

    def has(self, name: str) -> bool:
        """Return whether the batch has the column: `share.has("old")`."""
        return self.batch.has(name)

    def describe(self, row: int) -> str:
        """Return a sequence in words: its place in the step, and the id of its prompt where that is known."""
        names_N = self.batch.names_N
        name = f" (prompt '{names_N[bisect_left(self.rows, row)]}')" if names_N else ""
        return f"sequence {row + 1} of {len(self)}{name}"


def cut_batch(batch: Batch, rows_by_rank: Iterable[Collection[int]]) -> list[BatchShare]:
    """Return each rank's share; ranks that compute the same rows, since they share sequences, get the same object."""
    shares: dict[tuple[int, ...], BatchShare] = {}
    actions_N = batch.actions_N
    ranks = [tuple(sorted(rows)) for rows in rows_by_rank]
    for rows in ranks:
        if rows not in shares:
            part = batch if len(rows) == len(batch) else batch.select(rows)  # a rank alone needs no copy
            shares[rows] = BatchShare(rows, part, actions_N)
    return [shares[rows] for rows in ranks]


def rows_of(micro_batches: Iterable[Sequence[int]], dummy: Sequence[int]) -> set[int]:
    """Return the rows that a rank computes; without any it computes `dummy`, for nothing but to keep step with the others."""
    return {row for rows in micro_batches for row in rows or dummy}
