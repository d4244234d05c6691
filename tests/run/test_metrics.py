from __future__ import annotations

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.run.metrics import bootstrap_interval, calibration_error, is_timing, paired_interval, pass_at_k


def test_an_interval_without_spread_is_its_mean() -> None:
    assert bootstrap_interval([0.25] * 10) == (0.25, 0.25, 0.25)


def test_the_interval_of_a_coin_agrees_with_the_binomial() -> None:
    # 400 prompts, half right: standard error 0.025, so the 95 % interval is 0.5 ± 0.049.
    mean, low, high = bootstrap_interval([0.0, 1.0] * 200)
    assert mean == 0.5
    assert low == pytest.approx(0.451, abs=0.006)
    assert high == pytest.approx(0.549, abs=0.006)


def test_two_prompts_by_hand() -> None:
    # Resamples of {0, 1} have mean 0, 0.5, 1 with chances 1/4, 1/2, 1/4: the middle 40 % are all 0.5.
    assert bootstrap_interval([0, 1], level=0.4) == (0.5, 0.5, 0.5)
    assert bootstrap_interval([0, 1], level=0.95) == (0.5, 0.0, 1.0)


def test_intervals_repeat_and_depend_on_the_seed_alone() -> None:
    values = np.random.default_rng(3).random(50)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_many_prompts_are_resampled_in_bounded_memory() -> None:
    mean, low, high = bootstrap_interval(np.arange(3_000_000) % 2, resamples=5)
    assert low <= mean <= high
    assert mean == 0.5


def test_no_prompts_no_interval() -> None:
    assert all(map(isnan, bootstrap_interval([])))


def test_pairing_removes_the_spread_between_prompts() -> None:
    before = np.linspace(0, 0.9, 30)
    mean, low, high = paired_interval(before, before + 0.1)
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))
    assert bootstrap_interval(before)[2] > bootstrap_interval(before + 0.1)[1]  # unpaired, they overlap


def test_pairing_needs_the_same_prompts() -> None:
    with pytest.raises(AssertionError, match="same prompts"):
        paired_interval([1, 2], [1, 2, 3])


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int, data: st.DataObject) -> None:
    k, correct = data.draw(st.integers(1, n)), data.draw(st.integers(0, n))
    subsets = list(combinations([1] * correct + [0] * (n - correct), k))
    assert pass_at_k([correct], n, k)[0] == pytest.approx(sum(map(max, subsets)) / len(subsets))


def test_pass_at_k_by_hand() -> None:
    # c = 1 of n = 4, k = 2: 1 - C(3,2)/C(4,2) = 1 - 3/6; c = 2: 1 - 1/6; and n may differ by prompt.
    assert pass_at_k([0, 1, 2, 4], 4, 2).tolist() == pytest.approx([0, 1 / 2, 5 / 6, 1])
    assert pass_at_k([1, 1], [4, 2], 2).tolist() == pytest.approx([1 / 2, 1])


def test_pass_at_k_needs_k_samples() -> None:
    with pytest.raises(ValueError, match=r"pass@8: needs at least 8 samples of each prompt; the fewest are 4"):
        pass_at_k([1, 1], [8, 4], 8)


def test_what_is_a_timing() -> None:
    assert is_timing("time/step")
    assert is_timing("tokens_per_second/rollout")
    assert is_timing("eval/time/sample")
    assert not is_timing("eval/accuracy")
    assert not is_timing("length/mean")
    assert not is_timing("staleness")


def test_calibration_error_by_hand() -> None:
    # bin 0.9-1: confidence 0.95 twice, once right: gap |1 - 1.9|; bin 0.5-0.6: 0.55, right: gap 0.45
    assert calibration_error([0.95, 0.95, 0.55], [True, False, True]) == pytest.approx((0.9 + 0.45) / 3)
    assert calibration_error([1.0, 0.75, 0.75, 0.75, 0.75], [1, 1, 1, 1, 0]) == 0
    assert isnan(calibration_error([], []))
