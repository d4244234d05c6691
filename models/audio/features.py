"""Log-mel frames of clips, and how many frames and tokens a clip has: the arithmetic that engine and trainer share.

Suffixes: S samples, F mel frames (100 Hz), P encoder frames (25 Hz, or 50 Hz without pooling), K tokens (12.5 Hz).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rl.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from models.audio.config import StepAudioEncoderConfig

N_FFT, HOP = 400, 160
"""Window and hop of the spectrogram, in samples."""
SHORTEST = 3 * HOP
"""Samples to which a shorter chunk is padded with zeros: three frames, of which pooling leaves one, which gives a
token."""


def window(config: StepAudioEncoderConfig) -> int:
    """Return the samples S of a full chunk: `chunk_seconds`, or fewer where the encoder has not so many positions."""
    # A position takes two mel frames, and another frame begins only with another whole hop.
    tail = HOP - 1 if config.tail_samples is None else config.tail_samples
    return min(int(config.chunk_seconds * SAMPLE_RATE), (2 * config.n_audio_ctx + 1) * HOP - 1 - tail)


def chunks(samples: int, config: StepAudioEncoderConfig) -> list[slice]:
    """Return the slices that a clip is cut into: full chunks, then a shorter one. Raises ValueError for an empty clip."""
    if samples < 1:
        raise ValueError("an audio clip has no samples; drop the row or correct the file")
    return [slice(start, min(start + window(config), samples)) for start in range(0, samples, window(config))]


def silence(samples: int, config: StepAudioEncoderConfig) -> int:
    """Return the zeros, in samples, that are appended to a chunk."""
    tail = -samples % HOP if config.tail_samples is None else config.tail_samples
    return max(tail, SHORTEST - samples)


def frames(samples: int, config: StepAudioEncoderConfig) -> int:
    """Return the mel frames F of one chunk."""
    count = (samples + silence(samples, config)) // HOP
    if not is_coarse(samples, config):
        return count
    per_token = frames_per_token(config)
    return -(-count // (per_token * config.coarse)) * per_token


def is_coarse(samples: int, config: StepAudioEncoderConfig) -> bool:
    """Return whether a chunk is heard coarsely: as the mean spectra of stretches, a token each."""
    return config.coarse > 1 and samples > config.coarse_above_s * SAMPLE_RATE


def frames_per_token(config: StepAudioEncoderConfig) -> int:
    """Return the mel frames of a token: two a position, as many positions as are pooled, then the adapter's stride."""
    return 2 * config.pooling * config.adapter_stride


def encoder_frames(mel_frames: int, config: StepAudioEncoderConfig) -> int:
    """Return the encoder frames P of one chunk."""
    # The second convolution has stride 2 (rounding up), then neighbours are averaged (rounding down).
    return (mel_frames + 1) // 2 // config.pooling


def chunk_tokens(frames: int, config: StepAudioEncoderConfig) -> int:
    """Return the tokens K of one chunk with so many encoder frames P."""
    # The adapter's strided convolution has padding on both sides: 1 for a stride of 2.
    return (frames + 2 * (config.adapter_stride // 2) - config.kernel_size) // config.adapter_stride + 1


def tokens(samples: int, config: StepAudioEncoderConfig) -> int:
    """Return the tokens K of a clip: the number of `<audio_patch>` that it expands to."""
    pieces = (frames(piece.stop - piece.start, config) for piece in chunks(samples, config))
    return sum(chunk_tokens(encoder_frames(piece, config), config) for piece in pieces)


def mels(wave: np.ndarray | Tensor, config: StepAudioEncoderConfig) -> list[Tensor]:
    """Return log-mel frames [F, n_mels] float32 of each chunk of a clip. `wave`: [S] float32, mono, 16 kHz."""
    samples = torch.from_numpy(np.array(wave, dtype=np.float32)) if isinstance(wave, np.ndarray) else wave.float()
    return [log_mel(samples[piece], config) for piece in chunks(len(samples), config)]


def log_mel(wave_S: Tensor, config: StepAudioEncoderConfig) -> Tensor:
    """Return log-mel frames [F, n_mels] as Whisper computes them, but on the clip's own length, not padded to 30 s."""
    samples = len(wave_S)
    wave_S = torch.nn.functional.pad(wave_S, (0, silence(samples, config)))
    window = torch.hann_window(N_FFT, device=wave_S.device)
    # Without the last frame, as Whisper does.
    spectrum = torch.stft(wave_S, N_FFT, HOP, window=window, return_complex=True)[:, :-1]
    bands = torch.from_numpy(_filters(config.n_mels)).to(wave_S.device) @ spectrum.abs() ** 2
    loudness = bands.clamp(min=1e-10).log10()
    # Whisper's range: at most 8 (80 dB) below the clip's loudest, then (x + 4) / 4.
    mel = ((loudness.clamp(min=loudness.max() - 8.0) + 4.0) / 4.0).T.contiguous()
    return _blur(mel, config) if is_coarse(samples, config) else mel


def _blur(mel_Fm: Tensor, config: StepAudioEncoderConfig) -> Tensor:
    """Return the mean spectrum of each stretch that a token stands for, as often as there are frames in a token."""
    # Averaged before the encoder, so that what happens within a stretch is lost to any network, however it is trained.
    # If features were averaged after it, they would still tell the order of two tones.
    per_token = frames_per_token(config)
    width = per_token * config.coarse
    means = [mel_Fm[start : start + width].mean(0) for start in range(0, len(mel_Fm), width)]
    return torch.stack(means).repeat_interleave(per_token, 0)


@lru_cache
def _filters(n_mels: int) -> np.ndarray:
    """Return the mel filters [n_mels, N_FFT / 2 + 1], slaney scale and norm."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(N_FFT // 2 + 1, n_mels, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, "slaney", "slaney")
    return np.ascontiguousarray(bank.T, dtype=np.float32)


def buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Return groups of indices, of pieces to be padded together: their lengths lie within a factor of √2."""
    by_size: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        by_size.setdefault((length * length).bit_length(), []).append(i)
    return list(by_size.values())
