"""Small sounds made in code, the same each time: what gold cases of audio verifiers listen to, without a file."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

from rl.audio import SAMPLE_RATE
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
    """A sine at a level (RMS) as a WAV; a sweep, even in semitones, where `to_hertz` is given; followed by tones of
    the pitches `then` with silence between. 0 Hz is white noise."""
    import numpy as np

    samples: list[np.ndarray] = []
    for pitch in (hertz, *then):
        samples += [_sound(pitch, to_hertz or pitch, seconds, dbfs), np.zeros(round(gap_s * SAMPLE_RATE))]
    data = np.concatenate(samples[:-1])
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE)
        wav.writeframes((np.clip(data, -1, 1) * 32767).astype("<i2").tobytes())
    return Clip(data=file.getvalue())


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
