"""Augments clips: altered copies with the same labels keep a small encoder from learning its few clips by heart.

SpecAugment (Park et al. 2019) on the waveform: a stretch of time and a band of frequencies are silenced, and the clip
starts later. Labels of a clip's length, loudness or rhythm do not survive this: leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rl.audio import SAMPLE_RATE
from rl.config import ConfigError

if TYPE_CHECKING:
    import numpy as np


@dataclass
class AugmentConfig:
    """Limits of the changes to a clip; their size and place are drawn anew each time the clip is used."""

    delay_s: float = 0.1
    """Longest silence put before the clip, in seconds."""
    silence: float = 0.2
    """Largest share of the clip's length that is silenced."""
    band: float = 0.25
    """Largest share of the mel scale, up to 8 kHz, that is taken out."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
        if self.delay_s < 0 or not 0 <= self.silence < 1 or not 0 <= self.band < 1:
            raise ConfigError(f"{place}: delay_s must be 0 or more, silence and band at least 0 and less than 1")


def augment_clip(wave_S: np.ndarray, config: AugmentConfig, random: np.random.Generator) -> np.ndarray:
    """Return an altered copy of a 16 kHz wave, float32, longer by at most `delay_s`."""
    import numpy as np

    samples = len(wave_S)
    spectrum = np.fft.rfft(wave_S)
    low, high = (_hertz(share) for share in _span(config.band, random))
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    spectrum[(frequencies >= low) & (frequencies < high)] = 0
    wave = np.fft.irfft(spectrum, samples)
    begin, end = (round(share * samples) for share in _span(config.silence, random))
    wave[begin:end] = 0
    delay = np.zeros(round(random.uniform(0, config.delay_s) * SAMPLE_RATE))
    return np.concatenate([delay, wave]).astype(np.float32)


def _span(longest: float, random: np.random.Generator) -> tuple[float, float]:
    """Draw (start, end) within [0, 1], at most `longest` apart."""
    length = random.uniform(0, longest)
    start = random.uniform(0, 1 - length)
    return start, start + length


def _hertz(share: float) -> float:
    """Return the frequency in Hz at a share of the mel scale from 0 to 8 kHz."""
    # O'Shaughnessy's mel = 2595 log10(1 + f / 700), inverted
    return 700 * ((1 + SAMPLE_RATE / 2 / 700) ** share - 1)
