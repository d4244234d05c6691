"""What can be measured of a clip: pitch, level, length, brightness, noisiness, and the sounds it is made of.

`measure(clip)` decodes and measures a clip once and remembers it by its content; `analyse(samples)` does it for a
waveform. Shape legend: F frames of 10 ms.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rewards.grounding.pitch import HOP, RATE, WINDOW, track
from rl.audio import fingerprint, waveform
from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

FRAME_S = HOP / RATE
QUIETEST_DBFS = -90.0
"""Stands for digital silence."""
FINE_GAP_S, COARSE_GAP_S = 0.03, 0.13
"""A pause that parts two sounds; one that parts two words or phrases, longer than the stop in 'six' or 'eight'."""
_BELOW_LOUDEST_DB = 30.0
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of a clip that sounds."""

    start_s: float
    end_s: float
    rms_dbfs: float
    """Level of the stretch; a full-scale square wave has 0, a full-scale sine -3."""
    centroid_hz: float
    """Mean frequency weighted by amplitude: brightness."""
    flatness: float
    """Geometric over arithmetic mean of the power spectrum: 0 for a tone, about 0.6 for white noise."""
    voiced_share: float
    """Share of its frames that have a pitch."""
    f0_hz: float | None
    """Median pitch; None where fewer than three frames have one."""
    f0_low_hz: float | None
    """Tenth percentile of the pitch."""
    f0_high_hz: float | None
    """Ninetieth percentile of the pitch."""
    f0_start_hz: float | None
    """Pitch, where it begins, of the straight line through the contour in semitones."""
    f0_end_hz: float | None
    """The same where it ends."""
    level_change_db: float
    """Of the straight line through the level, from start to end."""

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def f0_change_st(self) -> float | None:
        """Semitones from the start to the end of the pitch line: positive rises."""
        from math import log2

        return 12 * log2(self.f0_end_hz / self.f0_start_hz) if self.f0_start_hz and self.f0_end_hz else None


@dataclass(frozen=True, slots=True)
class Acoustics:
    """Measures of a whole clip."""

    duration_s: float
    rms_dbfs: float
    """Level of the whole clip, its silence included."""
    peak_dbfs: float
    centroid_hz: float
    """Of the whole clip, its background included."""
    silence_share: float
    """Share of frames more than 40 dB below the loudest, or below -70 dBFS."""
    whole: Sound | None
    """From the first sound to the last; its level and spectrum are of the sounding frames alone. None for silence."""
    sounds: tuple[Sound, ...]
    """Parted by pauses of 30 ms, by jumps of level and by steps of a steady pitch."""
    phrases: tuple[Sound, ...]
    """Parted by pauses of 130 ms."""
    rate_hz: float | None
    """Onsets per second of at least three sounds that are alike and evenly spaced; else None: the pieces of a spoken
    word are no beats."""

    @property
    def tempo_bpm(self) -> float | None:
        return None if self.rate_hz is None else 60 * self.rate_hz


_cache: OrderedDict[str, Acoustics] = OrderedDict()


def measure(clip: Clip) -> Acoustics:
    """The clip's measures, taken once for the same content in a process. Raises ValueError for an unreadable clip."""
    key = fingerprint(clip)
    if key not in _cache:
        _cache[key] = analyse(waveform(clip))
        while len(_cache) > _REMEMBERED:
            _cache.popitem(last=False)
    return _cache[key]


def forget() -> None:
    """Drop what was measured, to time it anew."""
    _cache.clear()


def analyse(samples: np.ndarray) -> Acoustics:
    """Measures of [n] samples at 16 kHz in [-1, 1]."""
    import numpy as np

    samples = np.asarray(samples, dtype=np.float32)
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    framed = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    levels_F = _decibels(np.square(framed, dtype=np.float64).mean(axis=1, keepdims=True))[:, 0]
    frames = _Frames(levels_F, framed, _spectra(samples, len(framed)), track(samples))
    sounding, standing_out = _thresholds(levels_F)
    active_F = levels_F > sounding
    fine, coarse = (_runs(levels_F > standing_out, gap) for gap in (FINE_GAP_S, COARSE_GAP_S))
    stretches = [piece for start, end in fine for piece in _split(frames, start, end)]
    spans = _runs(active_F, len(active_F) * FRAME_S + 1)
    sounds = tuple(_sound(frames, active_F, *stretch) for stretch in stretches)
    whole = _sound(frames, active_F, *spans[0]) if spans else None
    return Acoustics(
        duration_s=len(samples) / RATE,
        rms_dbfs=_level(samples),
        peak_dbfs=_level(np.abs(samples).max(keepdims=True)),
        centroid_hz=_centroid(frames.spectra),
        silence_share=float(np.mean(levels_F < max(float(levels_F.max()) - 40, -70))),
        whole=whole,
        sounds=sounds,
        phrases=tuple(_sound(frames, active_F, *stretch) for stretch in coarse),
        rate_hz=_rate(sounds),
    )


@dataclass(frozen=True, slots=True)
class _Frames:
    levels: np.ndarray
    """[F] dBFS."""
    samples: np.ndarray
    """[F, HOP]."""
    spectra: np.ndarray
    """[F, bins] power."""
    pitch: np.ndarray
    """[P] Hz or 0, of windows of 50 ms that start with frame i; the last four frames have none."""


def _decibels(power: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.maximum(10 * np.log10(np.maximum(power, 1e-12)), QUIETEST_DBFS).astype(np.float64)


def _level(samples: np.ndarray) -> float:
    """RMS in dBFS."""
    import numpy as np

    return float(_decibels(np.mean(samples.astype(np.float64).ravel() ** 2, keepdims=True))[0])


def _spectra(samples: np.ndarray, count: int) -> np.ndarray:
    """[F, 257] power of windows of 25 ms around each frame."""
    import numpy as np

    padded = np.pad(samples, (120, 400))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP][:count]
    return np.abs(np.fft.rfft(windows * np.hanning(400).astype(np.float32), 512)) ** 2


def _thresholds(levels_F: np.ndarray) -> tuple[float, float]:
    """dBFS above which a frame sounds, 30 dB below the loudest; and above which it stands out of a noise floor, where
    a fifth of the frames lie within 4 dB of one another near the bottom."""
    import numpy as np

    loudest = float(levels_F.max())
    floor, above = np.percentile(levels_F, [10, 30]).tolist()
    sounding = max(loudest - _BELOW_LOUDEST_DB, -70.0)
    return sounding, max(sounding, min(floor + 10, loudest - 15)) if above - floor < 4 else sounding


def _runs(active_F: np.ndarray, gap_s: float) -> list[tuple[int, int]]:
    """Stretches of sounding frames [start, end), joined across pauses shorter than `gap_s`."""
    import numpy as np

    edges = np.flatnonzero(np.diff(np.concatenate([[0], active_F.astype(np.int8), [0]])))
    joined: list[tuple[int, int]] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if joined and (start - joined[-1][1]) * FRAME_S < gap_s - 1e-9:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _split(frames: _Frames, start: int, end: int) -> list[tuple[int, int]]:
    """A stretch without a pause, parted where its level leaps by 12 dB after a fall (a stroke in the reverberation of
    the one before) and where a steady pitch steps by more than a semitone."""
    import numpy as np

    levels, cuts, since = frames.levels, list[int](), start
    for i in range(start + 4, end - 2):
        lowest = max(since, i - 4) + int(levels[max(since, i - 4) : i].argmin())
        fallen = levels[since : lowest + 1].max() - levels[lowest]
        if levels[i] - levels[lowest] > 12 and fallen > 12 and i - since >= 4:
            cuts.append(i)
            since = i
    octaves = np.log2(np.maximum(frames.pitch[start : max(start, end - 4)], 1))
    for i in range(8, len(octaves) - 8):
        before, after = octaves[i - 8 : i - 2], octaves[i + 2 : i + 8]
        steady = max(np.ptp(before), np.ptp(after)) < 0.02 and min(before.min(), after.min()) > 0
        centre = start + i + 2
        if steady and abs(before[-1] - after[0]) > 1 / 12 and all(abs(centre - cut) > 8 for cut in cuts):
            cuts.append(centre)
    bounds = [start, *sorted(cuts), end]
    return list(pairwise(bounds))


def _sound(frames: _Frames, active_F: np.ndarray, start: int, end: int) -> Sound:
    import numpy as np

    on = np.flatnonzero(active_F[start:end]) + start
    power: np.ndarray = frames.spectra[on].sum(axis=0) + 1e-20
    centres = np.arange(start - 2, max(start - 1, end - 2))  # windows whose middle lies in the stretch
    centres = centres[(centres >= 0) & (centres < len(frames.pitch))]
    voiced = centres[frames.pitch[centres] > 0]
    hertz = frames.pitch[voiced]
    pitched = len(hertz) >= 3
    line = _line(voiced + 2.5, 12 * np.log2(hertz), voiced[0], voiced[-1] + 5) if pitched else None
    change = _line(on, frames.levels[on], on[0], on[-1]) if len(on) >= 3 else (0.0, 0.0)
    low, middle, high = np.percentile(hertz, [10.0, 50.0, 90.0]).tolist() if pitched else (None, None, None)
    return Sound(
        start_s=start * FRAME_S,
        end_s=end * FRAME_S,
        rms_dbfs=_level(frames.samples[on]),
        centroid_hz=_centroid(frames.spectra[on]),
        flatness=_flatness(power),
        voiced_share=len(voiced) / max(1, len(centres)),
        f0_hz=middle,
        f0_low_hz=low,
        f0_high_hz=high,
        f0_start_hz=float(2 ** (line[0] / 12)) if line else None,
        f0_end_hz=float(2 ** (line[1] / 12)) if line else None,
        level_change_db=change[1] - change[0],
    )


def _centroid(spectra: np.ndarray) -> float:
    import numpy as np

    amplitude: np.ndarray = np.sqrt(spectra).sum(axis=0) + 1e-12
    return float((amplitude * np.linspace(0, RATE / 2, len(amplitude))).sum()) / float(amplitude.sum())


def _flatness(power: np.ndarray) -> float:
    import numpy as np

    logarithms: np.ndarray = np.log(power)
    return float(np.exp(float(logarithms.mean()))) / float(power.mean())


def _line(at: np.ndarray, values: np.ndarray, start: float, end: float) -> tuple[float, float]:
    """The least-squares line through the values, at start and end."""
    spread = at - at.mean()
    slope = float((spread * values).sum()) / max(1e-9, float((spread**2).sum()))
    middle, centre = float(values.mean()), float(at.mean())
    return middle + slope * (start - centre), middle + slope * (end - centre)


def _rate(sounds: tuple[Sound, ...]) -> float | None:
    import numpy as np

    if len(sounds) < 3:
        return None
    steps = np.diff([sound.start_s for sound in sounds])
    lengths, levels = [sound.duration_s for sound in sounds], [sound.rms_dbfs for sound in sounds]
    alike = max(lengths) <= 2.5 * min(lengths) and max(levels) - min(levels) <= 12
    return 1 / float(np.median(steps)) if alike and float(np.ptp(steps)) < 0.4 * float(np.median(steps)) else None
