"""What is done to a clip: little enough to be heard as the same, otherwise each time, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.augment import AugmentConfig, augment_clip
from rl.config import ConfigError

RATE = 16000


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


def test_nothing_asked_nothing_done():
    wave_S = noise(4001)
    same = augment_clip(wave_S, AugmentConfig(0.0, 0.0, 0.0), np.random.default_rng(1))
    np.testing.assert_allclose(same, wave_S, atol=1e-6)


def test_a_seed_draws_the_same_and_another_another():
    wave_S, config = noise(8000), AugmentConfig()
    first, again, other = (augment_clip(wave_S, config, np.random.default_rng((7, i))) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_a_stretch_falls_silent():
    wave_S = noise(16000)
    silenced = [
        float(np.mean(augment_clip(wave_S, AugmentConfig(0.0, 0.5, 0.0), np.random.default_rng(i)) == 0))
        for i in range(200)
    ]
    assert max(silenced) <= 0.5
    assert 0.2 < np.mean(silenced) < 0.3, "half of the most, on average"


def test_a_band_is_taken_out():
    wave_S = noise(16000)
    powers = np.array(
        [
            np.abs(np.fft.rfft(augment_clip(wave_S, AugmentConfig(0.0, 0.0, 0.4), np.random.default_rng(i)))) ** 2
            for i in range(200)
        ]
    )
    gone = powers < 1e-6 * np.abs(np.fft.rfft(wave_S)) ** 2
    mel = 2595 * np.log10(1 + np.arange(8001) / 700)
    widths = [np.ptp(mel[row]) / mel[-1] if row.any() else 0.0 for row in gone]
    assert max(widths) <= 0.4
    assert 0.15 < np.mean(widths) < 0.25
    assert gone[:, [100, 7000]].any(0).all(), "anywhere on the scale"


@given(st.integers(1, 3000), st.floats(0, 0.5), st.floats(0, 0.99), st.floats(0, 0.99), st.integers(0, 99))
def test_any_clip_stays_a_clip(samples: int, delay_s: float, silence: float, band: float, seed: int):
    heard = augment_clip(noise(samples), AugmentConfig(delay_s, silence, band), np.random.default_rng(seed))
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert samples <= len(heard) <= samples + round(delay_s * RATE)


def test_shares_are_shares():
    with pytest.raises(ConfigError, match=r"^stages\[0\]\.encode\.augment: delay_s .*silence and band"):
        AugmentConfig(band=1.0).validate("stages[0].encode.augment")
