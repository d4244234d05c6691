"""Statistics of a run: bootstrap intervals over prompts, pass@k, calibration error; and which metrics are timings.

Shape legend: P prompts. Samples are averaged per prompt first, because samples of one prompt are not independent: the
bootstrap resamples prompts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIMINGS = ("time/", "tokens_per_second/")


def is_timing(name: str) -> bool:
    """Return whether a metric measures time; such metrics differ between two runs that are otherwise equal."""
    return name.removeprefix("eval/").startswith(TIMINGS)  # `eval/`: of an evaluation on the way


def bootstrap_interval(
    per_prompt_values: ArrayLike, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Return (mean, low, high) of [P] values by the percentile bootstrap over prompts (Efron 1979).

    Three NaN without prompts.
    """
    values_P = np.asarray(per_prompt_values, dtype=np.float64)
    assert values_P.ndim == 1, "one value for each prompt"
    assert np.isfinite(values_P).all(), "a prompt without a value must be left out"
    if not values_P.size:
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    rows = max(1, 4_000_000 // values_P.size)  # 32 MB of indices at a time
    means = np.concatenate(
        [
            values_P[rng.integers(values_P.size, size=(min(rows, resamples - start), values_P.size))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(values_P.mean()), float(low), float(high)


def paired_interval(
    before: ArrayLike, after: ArrayLike, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Return (mean, low, high) of `after - before`, both [P], over the same prompts in the same order.

    Pairing removes the spread between easy and hard prompts, so it detects differences that two separate intervals hide.
    """
    before_P, after_P = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    assert before_P.shape == after_P.shape, "pairs need the same prompts"
    return bootstrap_interval(after_P - before_P, resamples, level, seed)


def pass_at_k(correct_counts: ArrayLike, n: ArrayLike, k: int) -> NDArray[np.float64]:
    """Return [P] unbiased estimates of the chance that at least one of `k` samples is right.

    `correct_counts` [P] are right among `n` (a number, or [P]) samples: 1 - C(n - c, k) / C(n, k), Chen et al. 2021
    (arXiv:2107.03374), equation 1. Raises ValueError when a prompt has fewer than `k` samples.
    """
    counts_P = np.asarray(correct_counts, dtype=np.int64)
    n_P = np.broadcast_to(np.asarray(n, dtype=np.int64), counts_P.shape)
    if n_P.size and int(n_P.min()) < k:
        raise ValueError(f"pass@{k}: needs at least {k} samples of each prompt; the fewest are {int(n_P.min())}")
    assert bool((counts_P >= 0).all() and (counts_P <= n_P).all()), "0 <= correct <= n"
    missed_P = np.ones(counts_P.shape)
    for i in range(k):  # C(n - c, k) / C(n, k) = prod (n - c - i) / (n - i); a factor of 0 once n - c < k
        missed_P *= np.maximum(n_P - counts_P - i, 0) / (n_P - i)
    return 1.0 - missed_P


def calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3): the mean gap between confidence
    and accuracy over `bins` equal bins of confidence, weighted by their size. `confidence` [n] in [0, 1], `correct` [n].
    """
    confidence_n, correct_n = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    assert confidence_n.shape == correct_n.shape, "one verdict for each confidence"
    if not confidence_n.size:
        return float("nan")
    bin_n = np.minimum((confidence_n * bins).astype(int), bins - 1)  # a confidence of 1 belongs to the last bin
    gaps = [abs(float((correct_n - confidence_n)[bin_n == b].sum())) for b in range(bins)]
    return sum(gaps) / confidence_n.size
