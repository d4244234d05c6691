"""The alarm of a reward that rises while a second opinion on the same samples does not: so does one that is being hacked.

Two windows of neighbouring steps are compared, the latest n steps with the n before them, for n = 3, 4, 6, … 64. Samples of
one prompt are not independent, so the unit is a prompt's group: in a window reward and opinion have the means b and w of the
groups' means, and a standard error from their spread. The alarm sounds where

    Δb >= MIN_RISE  and  Δb >= z · se(Δb)                     the reward clearly rises
    c = k · Δb − Δw,  k = FOLLOWS · (1 − w before)                and the opinion does not go along
    c >= FOLLOWS · MIN_RISE  and  c >= (z − 0.5) · se(c)

An opinion that goes along at half the speed is honest: a strict one confirms only some of the right answers, and one that
is near 1 already can rise no further, hence the factor 1 − w. The windows are compared after every step, so z grows with
the number of steps: from 2.5 at step 8 to 4.9 at step 512 (tests/run/test_alarm.py simulates honest runs and hacked ones).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

FOLLOWS = 0.5
"""Share of the reward's rise that an opinion has to confirm, where it has all the room to rise."""
MIN_RISE = 0.05
"""Smallest rise of the reward that matters."""
MIN_GROUPS = 24
"""Fewest groups in a window; of fewer the spread is too uncertain."""
WINDOWS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of steps in a window."""
MIN_VARIANCE = 1e-4
"""Smallest variance between groups: a window of equal groups is no proof of anything."""

Sums = list[float]
"""The sums of one step: number of groups, then the sums of b, w, b², w² and b·w over their means, b of reward and w of opinion."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """A rise of the reward that the opinion does not follow: the means of both, before and after."""

    steps: int
    """Number of steps in each of the two windows."""
    reward: tuple[float, float]
    opinion: tuple[float, float]


@dataclass
class History:
    """The steps of a run as far back as the alarm looks. Plain numbers, which a checkpoint keeps as JSON."""

    rows: list[Sums] = field(default_factory=list[Sums])
    """The latest steps that had any group, oldest first."""
    steps: int = 0
    """Number of steps so far."""

    def add(self, groups: Sequence[tuple[float, float]]) -> None:
        """Add a step: the means of (reward, opinion) of each group of samples."""
        self.steps += 1
        if groups:
            b, w = np.asarray(groups, dtype=np.float64).T
            self.rows.append([float(value) for value in (b.size, b.sum(), w.sum(), b @ b, w @ w, b @ w)])
            del self.rows[: -2 * WINDOWS[-1]]  # two windows of the longest kind are all that is compared

    def find_divergence(self) -> Divergence | None:
        """Return how far reward and opinion have parted in the latest steps, or None while they go along."""
        z = 2.5 + 0.4 * max(math.log2(self.steps / 8), 0.0) if self.steps else 0.0
        # [steps + 1, 6], beginning with a row of zeros: the sums of any window are the difference of two rows.
        totals = np.cumsum([[0.0] * 6, *self.rows], axis=0)
        for steps in WINDOWS:
            if 2 * steps <= len(self.rows):
                before, after = totals[-1 - steps] - totals[-1 - 2 * steps], totals[-1] - totals[-1 - steps]
                if min(before[0], after[0]) >= MIN_GROUPS and _diverges(before, after, z):
                    (b0, w0), (b1, w1) = ((float(s[1] / s[0]), float(s[2] / s[0])) for s in (before, after))
                    return Divergence(steps, (b0, b1), (w0, w1))
        return None


def _diverges(before: np.ndarray, after: np.ndarray, z: float) -> bool:
    """Return whether the reward clearly rises between two windows, each the sums of its groups, and the opinion does not."""
    k = FOLLOWS * max(1.0 - before[2] / before[0], 0.0)
    rise, rise_error = _compare(before, after, 1.0, 0.0)
    # c of the module's docstring: where k·b − w stands for a group, the difference of its means is k · Δb − Δw.
    excess, excess_error = _compare(before, after, k, -1.0)
    return rise >= max(MIN_RISE, z * rise_error) and excess >= max(FOLLOWS * MIN_RISE, (z - 0.5) * excess_error)


def _compare(before: np.ndarray, after: np.ndarray, p: float, q: float) -> tuple[float, float]:
    """Return the difference of the windows' means of p·b + q·w, and its standard error."""
    means: list[float] = []
    errors: list[float] = []  # squared
    for count, b, w, bb, ww, bw in (before.tolist(), after.tolist()):
        mean = (p * b + q * w) / count
        square = (p * p * bb + q * q * ww + 2 * p * q * bw) / count
        means.append(mean)
        # Unbiased variance between the groups, over their number: the squared standard error of the window's mean.
        errors.append(max((square - mean * mean) * count / (count - 1), MIN_VARIANCE) / count)
    return means[1] - means[0], math.sqrt(sum(errors))
