"""From samples to log-mel frames to tokens: the arithmetic that engine and trainer share.

Legend: S samples, F mel frames (100 Hz), P encoder frames (25 Hz), K tokens (12.5 Hz).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rl.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from models.audio.config import StepAudioEncoderConfig

N_FFT, HOP, PAD = 400, 160, 479
"""Window and hop in samples, and the zeros appended to a clip: with them even one sample makes a token."""


def window(config: StepAudioEncoderConfig) -> int:
    """S of a full chunk: what the config asks for, as far as the encoder has positions."""
    return min(int(config.chunk_seconds * SAMPLE_RATE), 2 * config.n_audio_ctx * HOP - PAD)


def chunks(samples: int, config: StepAudioEncoderConfig) -> list[slice]:
    """Where a clip is cut: full chunks, then a shorter one. Raises ValueError for an empty clip."""
    if samples < 1:
        raise ValueError("an audio clip has no samples; drop the row or correct the file")
    return [slice(start, min(start + window(config), samples)) for start in range(0, samples, window(config))]


def frames(samples: int) -> int:
    """F of one chunk."""
    return (samples + PAD) // HOP


def encoder_frames(mel_frames: int) -> int:
    """P of one chunk: the second convolution has stride 2, then neighbours are averaged."""
    return (mel_frames + 1) // 2 // 2


def chunk_tokens(encoded: int, config: StepAudioEncoderConfig) -> int:
    """K of one chunk with P = `encoded`, after the adapter's strided convolution (padding 1)."""
    return (encoded + 2 - config.kernel_size) // config.adapter_stride + 1


def tokens(samples: int, config: StepAudioEncoderConfig) -> int:
    """K of a clip: to how many `<audio_patch>` it expands."""
    pieces = (frames(piece.stop - piece.start) for piece in chunks(samples, config))
    return sum(chunk_tokens(encoder_frames(piece), config) for piece in pieces)


def mels(wave: np.ndarray | Tensor, config: StepAudioEncoderConfig) -> list[Tensor]:
    """Log-mel frames of each chunk of a clip, [F, n_mels] float32. `wave`: [S] float32, mono, 16 kHz."""
    samples = torch.from_numpy(np.array(wave, dtype=np.float32)) if isinstance(wave, np.ndarray) else wave.float()
    return [log_mel(samples[piece], config.n_mels) for piece in chunks(len(samples), config)]


def log_mel(wave_S: Tensor, n_mels: int) -> Tensor:
    """[F, n_mels] as Whisper computes it, on the clip's own length: power spectrum, slaney mels, log10 clamped to 8 below
    the clip's loudest, then (x + 4) / 4."""
    padded = torch.nn.functional.pad(wave_S, (0, PAD))
    window = torch.hann_window(N_FFT, device=wave_S.device)
    spectrum = torch.stft(padded, N_FFT, HOP, window=window, return_complex=True)[:, :-1]
    bands = torch.from_numpy(_filters(n_mels)).to(wave_S.device) @ spectrum.abs() ** 2
    loudness = bands.clamp(min=1e-10).log10()
    return ((loudness.clamp(min=loudness.max() - 8.0) + 4.0) / 4.0).T.contiguous()


@lru_cache
def _filters(n_mels: int) -> Any:
    """[n_mels, N_FFT / 2 + 1], slaney scale and norm."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(N_FFT // 2 + 1, n_mels, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, "slaney", "slaney")
    return np.ascontiguousarray(bank.T, dtype=np.float32)


def buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of pieces whose lengths lie within a factor of √2 of each other: what is padded together."""
    by_size: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        by_size.setdefault((length * length).bit_length(), []).append(i)
    return list(by_size.values())
