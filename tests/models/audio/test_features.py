"""Samples to frames to tokens, beside librosa and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.audio import features
from models.audio.config import StepAudioEncoderConfig
from models.audio.modeling import Adapter, Encoder, adapt, encode

RELEASED = StepAudioEncoderConfig()
SMALL = StepAudioEncoderConfig(n_mels=8, n_audio_ctx=60, n_audio_state=8, n_audio_head=1, n_audio_layer=1)
"""Its window is that of its positions: 120 frames."""
COARSE = StepAudioEncoderConfig(
    n_mels=8, n_audio_ctx=60, n_audio_state=8, n_audio_head=1, n_audio_layer=1, coarse=4, coarse_above_s=0.25
)


@pytest.mark.parametrize(
    ("seconds", "tokens"),
    [(1 / 16000, 1), (0.01, 1), (0.5, 7), (1.0, 13), (25.0, 313), (25.01, 314), (40.0, 313 + 188), (50.0, 626)],
)
def test_tokens_of_a_clip(seconds: float, tokens: int) -> None:
    assert features.tokens(round(seconds * 16000), RELEASED) == tokens


def test_a_clip_without_samples_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^an audio clip has no samples; drop the row or correct the file$"):
        features.tokens(0, RELEASED)


@given(st.integers(1, 120 * 160 * 3), st.sampled_from([SMALL, COARSE]))
def test_what_is_counted_is_what_comes_out(samples: int, config: StepAudioEncoderConfig) -> None:
    torch.manual_seed(0)
    encoder, adapter = Encoder(config), Adapter(config, 4)
    with torch.no_grad():
        (heard,) = adapt(adapter, config, encode(encoder, config, [torch.zeros(samples)]))
    assert len(heard) == features.tokens(samples, config)


def test_a_long_clip_is_heard_as_mean_spectra_and_a_short_one_as_ever() -> None:
    coarse, wave = (
        StepAudioEncoderConfig(coarse=4, coarse_above_s=2.0),
        np.random.default_rng(0).normal(0, 0.1, 128_000),
    )
    (fine,), (blurred,) = features.mels(wave, RELEASED), features.mels(wave, coarse)
    # 8 s are 802 frames, 26 stretches of 0.32 s: a token each, of 8 frames that are alike
    assert (features.tokens(128_000, RELEASED), features.tokens(128_000, coarse), len(blurred)) == (100, 26, 26 * 8)
    torch.testing.assert_close(blurred[8:16], fine[32:64].mean(0).expand(8, -1))
    torch.testing.assert_close(blurred[-8:], fine[800:].mean(0).expand(8, -1))
    torch.testing.assert_close(features.mels(wave[:32_000], coarse)[0], features.mels(wave[:32_000], RELEASED)[0])
    assert features.tokens(32_000, coarse) == features.tokens(32_000, RELEASED)
    assert features.tokens(32_001, coarse) == 7


@pytest.mark.parametrize("samples", [1, 159, 160, 5000, 16000])
def test_log_mel_is_whispers_on_the_clips_own_frames(samples: int) -> None:
    import librosa

    wave = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    padded = np.pad(wave, (0, 479))
    spectrum = np.abs(librosa.stft(padded, n_fft=400, hop_length=160, window="hann", pad_mode="reflect")) ** 2
    loud = np.log10(np.maximum(librosa.filters.mel(sr=16000, n_fft=400, n_mels=128) @ spectrum[:, :-1], 1e-10))
    expected = (np.maximum(loud, loud.max() - 8) + 4) / 4
    (mel,) = features.mels(wave, RELEASED)
    assert mel.shape == ((samples + 479) // 160, 128)
    np.testing.assert_allclose(mel.numpy(), expected.T, atol=2e-4)


def test_a_long_clip_is_cut_and_each_chunk_computed_alone() -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 16000 * 60).astype(np.float32)
    chunks = features.mels(wave, RELEASED)
    assert [len(chunk) for chunk in chunks] == [2502, 2502, 1002]
    torch.testing.assert_close(chunks[1], features.log_mel(torch.from_numpy(wave[400_000:800_000]), RELEASED))
