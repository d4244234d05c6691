"""Synthesises sounds from their descriptions: tones, sweeps, noise, beats, and sounds one after the other.

Levels are the RMS of the sounding part in dBFS, a full-scale square wave being 0. The samples depend on the
description alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from rl.audio import SAMPLE_RATE, encode
from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

FADE_S = 0.01
"""Length of the fades at the edges of a sound."""
BURST_S = 0.04
"""Length of one beat."""


@dataclass(frozen=True, slots=True)
class Sound:
    """The description of a sound. Its `repr` is hashed to ids and splits: a change of fields moves every question."""

    shape: str
    """tone, sweep (`hertz` to `to_hertz`), noise, or beats (bursts of `hertz`, `per_second`)."""
    seconds: float
    decibels: float
    hertz: float = 0.0
    to_hertz: float = 0.0
    harmonics: int = 1
    """Number of partials of equal amplitude: the spectral centroid is hertz · (harmonics + 1) / 2."""
    beats: int = 0
    per_second: float = 0.0
    before_s: float = 0.0
    """Silence before the sound, within `seconds`."""
    seed: int = 0
    """Seed of noise and of the phases of partials."""

    @property
    def centroid(self) -> float:
        """The spectral centroid of a tone, Hz."""
        return self.hertz * (self.harmonics + 1) / 2


def render(sound: Sound) -> np.ndarray:
    """Return the sound as [samples] float32 at 16 kHz."""
    import numpy as np

    random = np.random.default_rng(sound.seed)
    if sound.shape == "beats":
        burst = _burst(sound, random)
        samples = np.zeros(round(sound.seconds * SAMPLE_RATE))
        for beat in range(sound.beats):
            start = round((sound.before_s + beat / sound.per_second) * SAMPLE_RATE)
            samples[start : start + len(burst)] += burst[: len(samples) - start]  # rounding may cut the last one
        return samples.astype(np.float32)
    t = np.arange(round(sound.seconds * SAMPLE_RATE)) / SAMPLE_RATE
    if sound.shape == "noise":
        samples = random.uniform(-1, 1, len(t))
    elif sound.shape == "sweep":
        ratio = sound.to_hertz / sound.hertz
        # The phase is the integral of an exponential frequency: semitones pass evenly.
        samples = np.sin(2 * np.pi * sound.hertz * sound.seconds / np.log(ratio) * ratio ** (t / sound.seconds))
    else:
        samples = _partials(sound, t, random)
    return _set_level(samples, sound.decibels)


def _burst(sound: Sound, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    t = np.arange(round(BURST_S * SAMPLE_RATE)) / SAMPLE_RATE
    return _set_level(_partials(sound, t, random), sound.decibels)


def _partials(sound: Sound, t: np.ndarray, random: np.random.Generator) -> np.ndarray:
    import numpy as np

    numbers = np.arange(1, sound.harmonics + 1)[:, None]
    # Random phases: in phase, many partials would peak far above their level.
    phases = random.uniform(0, 2 * np.pi, (sound.harmonics, 1))
    return np.sin(2 * np.pi * sound.hertz * numbers * t + phases).sum(0)


def _set_level(samples: np.ndarray, decibels: float) -> np.ndarray:
    """Return the samples faded in and out and scaled to an RMS level in dBFS."""
    import numpy as np

    # Before the level is measured: a fade takes away from the RMS.
    samples = fade(samples)
    return (samples * 10 ** (decibels / 20) / np.sqrt(np.mean(samples**2))).astype(np.float32)


def fade(samples: np.ndarray) -> np.ndarray:
    """Fade the array in and out in place, so that its edges do not click, and return it."""
    import numpy as np

    edge = min(round(FADE_S * SAMPLE_RATE), len(samples) // 4)  # half of a very short sound stays at full level
    ramp = np.linspace(0, 1, edge, endpoint=False, dtype=samples.dtype)
    samples[:edge] *= ramp
    # Not `-edge:`, which is the whole array where the edge is 0.
    samples[len(samples) - edge :] *= ramp[::-1]
    return samples


def concatenate(parts: Sequence[np.ndarray], gap_s: float, total_s: float | None = None) -> np.ndarray:
    """Return the parts one after the other with silence between them, and after them up to `total_s` where given."""
    import numpy as np

    gap = np.zeros(round(gap_s * SAMPLE_RATE), np.float32)
    pieces = [piece for part in parts for piece in (part, gap)][:-1]
    missing = round((total_s or 0) * SAMPLE_RATE) - sum(map(len, pieces))
    return np.concatenate([*pieces, np.zeros(max(missing, 0), np.float32)])


def place(sounds: Sequence[tuple[float, Sound]], seconds: float) -> np.ndarray:
    """Return the sounds, each at its start in seconds, in silence of so many seconds."""
    import numpy as np

    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for at, sound in sounds:
        start = round(at * SAMPLE_RATE)
        piece = render(sound)[: len(samples) - start]
        samples[start : start + len(piece)] += piece
    return samples


@lru_cache(maxsize=16384)  # the stages of a recipe ask for the same sounds
def make_clip(*sounds: Sound, gap_s: float = 0.1) -> Clip:
    """Return the sounds in one encoded clip, with silence of `gap_s` between them."""
    return Clip(data=encode(concatenate([render(sound) for sound in sounds], gap_s)))
