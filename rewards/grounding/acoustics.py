"""Measure a clip: pitch, level, length, brightness, noisiness, and the sounds it is made of.

`measure(clip)` decodes and measures a clip once and caches the result by its content; `analyse(samples)` does it for a
waveform. Shape legend: F frames of 10 ms.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING

from rewards.grounding.pitch import HOP, RATE, WINDOW, track
from rl.audio import fingerprint, waveform
from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

FRAME_S = HOP / RATE
"""Length of a frame, s."""
QUIETEST_DBFS = -90.0
"""Level that stands for digital silence, whose decibels would be minus infinity."""
FINE_GAP_S, COARSE_GAP_S = 0.03, 0.13
"""Shortest pause between two sounds, and between two words or phrases: longer than the stop in 'six' or 'eight'."""
_BELOW_LOUDEST_DB = 30.0
_CACHE_SIZE = 4096  # clips


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of a clip that is not silent."""

    start_s: float
    end_s: float
    rms_dbfs: float
    """Level of the sounding frames; a full-scale square wave has 0, a full-scale sine -3."""
    centroid_hz: float
    """Spectral centroid, the mean frequency weighted by amplitude: brightness."""
    flatness: float
    """Spectral flatness, the geometric over the arithmetic mean of the power: 0 for a tone, about 0.6 for white noise."""
    voiced_share: float
    """Share of the frames that have a pitch."""
    f0_hz: float | None
    """Median pitch; None where fewer than three frames have one."""
    f0_low_hz: float | None
    """Tenth percentile of the pitch."""
    f0_high_hz: float | None
    """Ninetieth percentile of the pitch."""
    f0_start_hz: float | None
    """Pitch at the start of the straight line through the contour in semitones."""
    f0_end_hz: float | None
    """Pitch at the end of that line."""
    level_change_db: float
    """Change of the straight line through the level, from start to end."""

    @property
    def duration_s(self) -> float:
        """Length of the stretch, s."""
        return self.end_s - self.start_s

    @property
    def f0_change_st(self) -> float | None:
        """Semitones from the start to the end of the pitch line, positive where it rises; None without a pitch."""
        return 12 * log2(self.f0_end_hz / self.f0_start_hz) if self.f0_start_hz and self.f0_end_hz else None


@dataclass(frozen=True, slots=True)
class Acoustics:
    """The measurements of a whole clip."""

    duration_s: float
    rms_dbfs: float
    """Level of the whole clip, its silence included."""
    peak_dbfs: float
    centroid_hz: float
    """Spectral centroid of the whole clip, its background included."""
    silence_share: float
    """Share of frames more than 40 dB below the loudest, or below -70 dBFS."""
    whole: Sound | None
    """The stretch from the first sound to the last, level and spectrum from its sounding frames alone; None for
    silence."""
    sounds: tuple[Sound, ...]
    """The sounds, separated by pauses of 30 ms, by jumps of level and by steps of a steady pitch."""
    phrases: tuple[Sound, ...]
    """The words or phrases, separated by pauses of 130 ms."""
    rate_hz: float | None
    """Onsets per second of three or more sounds that are alike and evenly spaced; else None, since the pieces of a
    spoken word are no beats."""

    @property
    def tempo_bpm(self) -> float | None:
        """`rate_hz` in beats per minute."""
        return None if self.rate_hz is None else 60 * self.rate_hz


_cache: OrderedDict[str, Acoustics] = OrderedDict()


def measure(clip: Clip) -> Acoustics:
    """Return the measurements of a clip, cached by content in this process. Raises ValueError for an unreadable clip."""
    key = fingerprint(clip)
    if key not in _cache:
        _cache[key] = analyse(waveform(clip))
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return _cache[key]


def clear_cache() -> None:
    """Forget all measurements, so that a benchmark can take them again."""
    _cache.clear()


def analyse(samples: np.ndarray) -> Acoustics:
    """Measure [n] samples at 16 kHz in [-1, 1]."""
    import numpy as np

    samples = np.asarray(samples, dtype=np.float32)
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))  # one pitch frame at least
    samples_F = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    levels_F = _decibels(np.square(samples_F, dtype=np.float64).mean(axis=1, keepdims=True))[:, 0]
    frames = _Frames(levels_F, samples_F, _spectra(samples, len(samples_F)), track(samples))
    silence_dbfs, floor_dbfs = _thresholds(levels_F)
    active_F = levels_F > silence_dbfs
    fine, coarse = (_runs(levels_F > floor_dbfs, gap) for gap in (FINE_GAP_S, COARSE_GAP_S))
    stretches = [piece for start, end in fine for piece in _split(frames, start, end)]
    spans = _runs(active_F, len(active_F) * FRAME_S + 1)  # no gap is as long: one span from first to last
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
    """Levels [F], dBFS."""
    samples: np.ndarray
    """Samples [F, HOP]."""
    spectra: np.ndarray
    """Power spectra [F, bins]."""
    pitch: np.ndarray
    """Pitch [F - 4] of windows of 50 ms that start with frame i, Hz or 0; the last four frames have none."""


def _decibels(power: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.maximum(10 * np.log10(np.maximum(power, 1e-12)), QUIETEST_DBFS).astype(np.float64)


def _level(samples: np.ndarray) -> float:
    """Return the RMS level of samples, dBFS."""
    import numpy as np

    return float(_decibels(np.mean(samples.astype(np.float64).ravel() ** 2, keepdims=True))[0])


def _spectra(samples: np.ndarray, count: int) -> np.ndarray:
    """Return the power [F, 257] of windows of 25 ms around each frame."""
    import numpy as np

    # 400 samples are 25 ms; 120 samples in front align the middle of the window with the middle of its frame of 160.
    samples_with_edges = np.pad(samples, (120, 400))
    windows = np.lib.stride_tricks.sliding_window_view(samples_with_edges, 400)[::HOP][:count]
    return np.abs(np.fft.rfft(windows * np.hanning(400).astype(np.float32), 512)) ** 2


def _thresholds(levels_F: np.ndarray) -> tuple[float, float]:
    """Return two levels, dBFS: above the first, 30 dB below the loudest, a frame is not silent; above the second it
    stands out from the noise floor."""
    import numpy as np

    loudest = float(levels_F.max())
    silence = max(loudest - _BELOW_LOUDEST_DB, -70.0)
    # A fifth of the frames within 4 dB of one another near the bottom are taken for a noise floor.
    floor, above = np.percentile(levels_F, [10, 30]).tolist()
    if above - floor < 4:
        return silence, max(silence, min(floor + 10, loudest - 15))
    return silence, silence


def _runs(active_F: np.ndarray, gap_s: float) -> list[tuple[int, int]]:
    """Return the stretches of active frames [start, end), joined across pauses shorter than `gap_s`."""
    import numpy as np

    # Edges come in pairs: where frames become active, and where they cease to be.
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active_F.astype(np.int8), [0]])))
    runs: list[tuple[int, int]] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if runs and (start - runs[-1][1]) * FRAME_S < gap_s - 1e-9:  # three frames of 10 ms are less than 0.03 in float
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def _split(frames: _Frames, start: int, end: int) -> list[tuple[int, int]]:
    """Split a stretch without a pause where its level leaps by 12 dB after a fall (a stroke in the reverberation of the
    one before) and where a steady pitch steps by more than a semitone."""
    import numpy as np

    levels, cuts, last_cut = frames.levels, list[int](), start
    for i in range(start + 4, end - 2):
        lowest = max(last_cut, i - 4) + int(levels[max(last_cut, i - 4) : i].argmin())
        fall_db = levels[last_cut : lowest + 1].max() - levels[lowest]
        if levels[i] - levels[lowest] > 12 and fall_db > 12 and i - last_cut >= 4:
            cuts.append(i)
            last_cut = i
    # A pitch window is 50 ms, so the frames around a step see both pitches: the six before and the six after are compared.
    octaves = np.log2(np.maximum(frames.pitch[start : max(start, end - 4)], 1))
    for i in range(8, len(octaves) - 8):
        before, after = octaves[i - 8 : i - 2], octaves[i + 2 : i + 8]
        steady = max(np.ptp(before), np.ptp(after)) < 0.02 and min(before.min(), after.min()) > 0
        centre = start + i + 2  # the middle of the window
        if steady and abs(before[-1] - after[0]) > 1 / 12 and all(abs(centre - cut) > 8 for cut in cuts):
            cuts.append(centre)
    bounds = [start, *sorted(cuts), end]
    return list(pairwise(bounds))


def _sound(frames: _Frames, active_F: np.ndarray, start: int, end: int) -> Sound:
    import numpy as np

    on = np.flatnonzero(active_F[start:end]) + start
    power: np.ndarray = frames.spectra[on].sum(axis=0) + 1e-20
    windows = np.arange(start - 2, max(start - 1, end - 2))  # those whose middle lies in the stretch
    windows = windows[(windows >= 0) & (windows < len(frames.pitch))]
    pitch_windows = windows[frames.pitch[windows] > 0]
    hertz = frames.pitch[pitch_windows]
    has_pitch = len(hertz) >= 3
    line = None
    if has_pitch:  # in semitones, from the start of the first window to the end of the last
        line = _line(pitch_windows + 2.5, 12 * np.log2(hertz), pitch_windows[0], pitch_windows[-1] + 5)
    change = _line(on, frames.levels[on], on[0], on[-1]) if len(on) >= 3 else (0.0, 0.0)
    low, middle, high = np.percentile(hertz, [10.0, 50.0, 90.0]).tolist() if has_pitch else (None, None, None)
    return Sound(
        start_s=start * FRAME_S,
        end_s=end * FRAME_S,
        rms_dbfs=_level(frames.samples[on]),
        centroid_hz=_centroid(frames.spectra[on]),
        flatness=_flatness(power),
        voiced_share=len(pitch_windows) / max(1, len(windows)),
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
    """Return the least-squares line through the values, at start and end."""
    spread = at - at.mean()
    slope = float((spread * values).sum()) / max(1e-9, float((spread**2).sum()))
    middle, centre = float(values.mean()), float(at.mean())
    return middle + slope * (start - centre), middle + slope * (end - centre)


def _rate(sounds: tuple[Sound, ...]) -> float | None:
    """Return the onsets per second of sounds that are alike and evenly spaced; see `Acoustics.rate_hz`."""
    import numpy as np

    if len(sounds) < 3:
        return None
    steps = np.diff([sound.start_s for sound in sounds])
    lengths, levels = [sound.duration_s for sound in sounds], [sound.rms_dbfs for sound in sounds]
    alike = max(lengths) <= 2.5 * min(lengths) and max(levels) - min(levels) <= 12
    even = float(np.ptp(steps)) < 0.4 * float(np.median(steps))
    return 1 / float(np.median(steps)) if alike and even else None
