"""Small sounds made in code, the same each time: what gold cases of audio verifiers listen to, without a file."""

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
    """A sine at a level (RMS) as a FLAC file; a sweep, even in semitones, where `to_hertz` is given; followed by tones of
    the pitches `then` with silence between. 0 Hz is white noise."""
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
        contour = hertz * (to_hertz / hertz) ** (np.arange(count) / count)
        samples = np.sin(2 * np.pi * np.cumsum(contour) / SAMPLE_RATE)
    fade = np.minimum(1, np.arange(count) / (0.01 * SAMPLE_RATE))
    samples = samples * fade * fade[::-1]
    return samples * 10 ** (dbfs / 20) / np.sqrt(np.mean(samples**2))
