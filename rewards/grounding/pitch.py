"""Track the pitch of a waveform: autocorrelation with a Viterbi path, and the spectrum's peak for pure tones.

Autocorrelation divided by that of the window, candidates joined by the path of least cost: Boersma 1993, "Accurate
short-term analysis of the fundamental frequency", as Praat does it, in NumPy; about 3 ms for a second of sound where
librosa's pYIN takes 100. Shape legend: F frames, K candidates of a frame, L lags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

RATE = 16_000
"""Sampling rate, Hz."""
HOP = 160
"""Samples between frames: 10 ms."""
FLOOR_HZ, CEILING_HZ = 60.0, 500.0
"""Range of the autocorrelation, Hz; purer or higher sounds are corrected from the spectrum (`_correct_octaves`)."""
WINDOW = 800
"""Samples of a frame: three periods of the floor."""
_CANDIDATES = 8
# Praat's defaults. Thresholds for a voiced frame: its strength, and its peak relative to that of the loudest frame.
_VOICING, _SILENCE = 0.45, 0.03
# Costs of the path: for a candidate one octave lower, a leap by an octave, a change between voiced and unvoiced.
_OCTAVE, _JUMP, _SWITCH = 0.01, 0.35, 0.14
_CHUNK = 1000  # frames at a time: 16 MB


def track(samples: np.ndarray) -> np.ndarray:
    """Return the pitch [F] of samples [n], Hz, 0 where a frame has none. Samples are float at 16 kHz; frame i starts at
    sample i * HOP; the last frame is the last that fits, and a shorter sound is padded to one frame."""
    import numpy as np

    samples = np.asarray(samples, dtype=np.float32)
    if len(samples) < WINDOW:
        samples = np.pad(samples, (0, WINDOW - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    loudest = float(np.abs(samples).max())
    if loudest < 1e-5:
        return np.zeros(len(frames))
    chunks = [_candidates(frames[i : i + _CHUNK], loudest) for i in range(0, len(frames), _CHUNK)]
    strengths_FK, octaves_FK, pure_F, power = map(np.concatenate, zip(*chunks, strict=True))
    path_F = _best_path(strengths_FK, octaves_FK)
    pitch_F = np.where(path_F < 0, 0.0, 2.0 ** octaves_FK[np.arange(len(path_F)), path_F])
    return np.where(pure_F > 0, pure_F, _correct_octaves(pitch_F, power))


def _candidates(frames: np.ndarray, loudest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return strengths and log2 Hz [F, K + 1] of each frame's candidates, the last being no pitch; the frequency of
    frames that are a pure tone [F], else 0; power spectra [F, bins]."""
    import numpy as np

    size = 2048  # more than twice the window, so that the circular autocorrelation does not wrap around
    frames = frames - frames.mean(axis=1, keepdims=True)
    window = np.hanning(WINDOW + 2)[1:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, size)) ** 2
    low, high = int(RATE / CEILING_HZ) - 1, int(RATE / FLOOR_HZ) + 2
    # Divided by the window's own autocorrelation (Boersma's equation 9), which falls with the lag.
    window_L = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)[: high + 1]
    lagged_FL = np.fft.irfft(power)[:, : high + 1]
    lagged_FL = lagged_FL / np.maximum(lagged_FL[:, :1], 1e-12) / (window_L / window_L[0])
    before, here, after = lagged_FL[:, low - 1 : high - 1], lagged_FL[:, low:high], lagged_FL[:, low + 1 : high + 1]
    top = (here >= before) & (here > after) & (here > 0.25)
    # A parabola through the three values around each maximum.
    bend = before - 2 * here + after
    shift = np.where(top, 0.5 * (before - after) / np.where(bend == 0, 1, bend), 0)
    height = here - 0.25 * (before - after) * shift
    hertz = RATE / (np.arange(low, high) + shift)
    height = np.minimum(height, 1 / np.maximum(height, 1e-9))  # more than 1 is an artefact of interpolation
    strength = np.where(top, height + _OCTAVE * np.log2(hertz / FLOOR_HZ), -9.0)
    best = np.argpartition(-strength, _CANDIDATES, axis=1)[:, :_CANDIDATES]
    # The strength of "no pitch", greater for quiet frames (Boersma's equation 23).
    loudness = np.abs(frames).max(axis=1) / loudest / (_SILENCE / (1 + _VOICING))
    silence = _VOICING + np.maximum(0, 2 - loudness)
    strengths_FK = np.column_stack([np.take_along_axis(strength, best, 1), silence])
    octaves_FK = np.column_stack([np.log2(np.take_along_axis(hertz, best, 1)), np.zeros(len(frames))])
    return strengths_FK, octaves_FK, np.where(loudness > 1, _pure(power), 0), power


def _pure(power: np.ndarray) -> np.ndarray:
    """Return the frequency [F] of frames in which one line of the spectrum holds nearly all energy and lies where
    autocorrelation is coarse; else 0. `power` is [F, bins]."""
    import numpy as np

    peak = power[:, 1:-1].argmax(axis=1) + 1
    rows = np.arange(len(power))
    near = power[rows[:, None], np.clip(peak[:, None] + np.arange(-6, 7), 0, power.shape[1] - 1)].sum(axis=1)
    # A parabola through the logarithms of the three bins around the peak.
    a, b, c = (np.log(power[rows, peak + k] + 1e-20) for k in (-1, 0, 1))
    hertz = (peak + 0.5 * (a - c) / np.where(a - 2 * b + c == 0, 1, a - 2 * b + c)) * RATE / 2048
    return np.where((near > 0.9 * power.sum(axis=1)) & (hertz > 0.8 * CEILING_HZ), hertz, 0)


def _best_path(strengths_FK: np.ndarray, octaves_FK: np.ndarray) -> np.ndarray:
    """Return the candidate [F] of each frame on the path with the greatest sum, -1 for no pitch (Viterbi)."""
    import numpy as np

    none = strengths_FK.shape[1] - 1
    leaps = _JUMP * np.abs(octaves_FK[:-1, :, None] - octaves_FK[1:, None, :])
    leaps[:, none, :] = leaps[:, :, none] = _SWITCH
    leaps[:, none, none] = 0
    totals_K, previous_FK = strengths_FK[0], np.zeros(strengths_FK.shape, dtype=np.int64)
    for i, leap in enumerate(leaps, 1):
        arrivals = totals_K[:, None] - leap  # [from, to]
        previous_FK[i] = arrivals.argmax(axis=0)
        totals_K = np.take_along_axis(arrivals, previous_FK[i : i + 1], 0)[0] + strengths_FK[i]
    path = np.empty(len(previous_FK), dtype=np.int64)
    state = int(totals_K.argmax())
    for i in range(len(previous_FK) - 1, -1, -1):
        path[i], state = state, previous_FK[i, state]
    return np.where(path == none, -1, path)


def _correct_octaves(pitch_F: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Correct the pitch of sounds above the ceiling, which autocorrelation tracks at a fraction of it: where all energy
    of a stretch of steady pitch lies on each k-th multiple of it, the pitch is k times higher. `power` is [F, bins]."""
    import numpy as np

    bounds = np.flatnonzero(np.abs(np.diff(np.log2(np.maximum(pitch_F, 1)))) > 1 / 12) + 1
    pitch_F = pitch_F.copy()
    for stretch in np.split(np.arange(len(pitch_F)), bounds):
        exact = float(pitch_F[stretch].mean()) * 2048 / RATE  # in bins of the spectrum
        if exact == 0 or len(stretch) < 3:
            continue
        spectrum = power[stretch[0] : stretch[-1] + 1].mean(axis=0)
        below = np.concatenate([[0.0], spectrum.cumsum()])  # differences are sums of bins
        lines = np.rint(np.arange(1, int(1018 / exact)) * exact).astype(np.int64)  # multiples of it below 8 kHz
        energy = below[lines + 4] - below[lines - 3]
        if energy.sum() < 0.8 * below[-1]:  # much of the energy lies between the multiples: not a periodic sound
            continue
        for k in range(min(12, len(lines)), 1, -1):
            if energy[k - 1 :: k].sum() > 0.97 * energy.sum():
                pitch_F[stretch] *= k
                break
    return pitch_F
