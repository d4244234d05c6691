"""Synthesise small sounds, the same each time, for the gold cases of audio verifiers, which need no files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.audio import SAMPLE_RATE, encode
from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np


def tone(
    hertz: float,
    seconds: float,
    dbfs: float = -20.0,
    *,
    to_hertz: float | None = None,
    then: tuple[float, ...] = (),
    gap_s: float = 0.1,
) -> Clip:
    """Return a clip of a sine at an RMS level; 0 Hz is white noise. With `to_hertz` it is a sweep, even in semitones;
    tones of the pitches `then` follow with silence of `gap_s` between them."""
    import numpy as np

    samples: list[np.ndarray] = []
    for pitch in (hertz, *then):
        samples += [_sound(pitch, to_hertz or pitch, seconds, dbfs), np.zeros(round(gap_s * SAMPLE_RATE))]
    return Clip(data=encode(np.concatenate(samples[:-1])))


def _sound(hertz: float, to_hertz: float, seconds: float, dbfs: float) -> np.ndarray:
    import numpy as np

    count = round(seconds * SAMPLE_RATE)
    if hertz == 0:
        samples = np.random.default_rng(0).normal(size=count)
    else:
        contour = hertz * (to_hertz / hertz) ** (np.arange(count) / count)  # even in semitones
        # The phase is the integral of the frequency; a sine of `contour * t` would sweep too fast.
        samples = np.sin(2 * np.pi * np.cumsum(contour) / SAMPLE_RATE)
    # 10 ms at either end, so that edges do not click.
    fade = np.minimum(1, np.arange(count) / (0.01 * SAMPLE_RATE))
    samples = samples * fade * fade[::-1]
    return samples * 10 ** (dbfs / 20) / np.sqrt(np.mean(samples**2))
