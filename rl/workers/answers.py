"""Turns the answers of a trainer's ranks into one result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rl.workers.roles import Report

if TYPE_CHECKING:
    from torch import Tensor


MAXIMUM = "/max"
"""End of the name of a metric that is a maximum over actions: others are means."""


def in_order(answers: list[dict[int, np.ndarray]]) -> Tensor:
    """Return the ranks' answers {row: [a]} end to end, in the order of the rows."""
    import torch

    # Every row is on exactly one rank.
    rows: dict[int, np.ndarray] = {row: piece for answer in answers for row, piece in answer.items()}
    return torch.from_numpy(np.concatenate([rows[i] for i in range(len(rows))]))


def sum_over_ranks(shares: Sequence[Report]) -> Report:
    """Return a step's metrics, of which each rank reported its share, or of a maximum its own."""
    return {
        name: max_or_nan([share[name] for share in shares])
        if name.endswith(MAXIMUM)
        else sum(share[name] for share in shares)
        for name in shares[0]
    }


def max_or_nan(values: Sequence[float]) -> float:
    """Return the largest value, or NaN where one is."""
    return float(np.max(values))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def mean_of_steps(answers: list[list[Report]]) -> Report:
    """Return the mean over optimiser steps of metrics that sum over ranks (`answers[rank][step]`)."""
    steps = [sum_over_ranks(shares) for shares in zip(*answers, strict=True)]
    return {
        name: (max_or_nan if name.endswith(MAXIMUM) else _mean)([step[name] for step in steps]) for name in steps[0]
    }
