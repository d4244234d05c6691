"""A clip that is encoded while it arrives has the features of the whole clip."""

from __future__ import annotations

import pytest
import torch

from models.audio import features
from models.audio.arriving import ArrivingClip
from models.audio.config import StepAudioEncoderConfig
from models.audio.modeling import Encoder, encode

CONFIG = StepAudioEncoderConfig(
    n_mels=16, n_audio_ctx=64, n_audio_state=32, n_audio_head=2, n_audio_layer=2, chunk_seconds=0.5, llm_dim=32
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(CONFIG).eval()


@pytest.mark.parametrize("samples", [1, 400, 7_999, 8_000, 8_001, 24_000, 30_123])
@pytest.mark.parametrize("piece", [160, 1_234, 8_000, 40_000])
def test_what_arrives_has_the_features_of_the_whole(encoder: Encoder, samples: int, piece: int) -> None:
    wave = torch.randn(samples, generator=torch.Generator().manual_seed(samples)) * 0.1
    clip, pieces = ArrivingClip(encoder, CONFIG), list[torch.Tensor]()
    with torch.no_grad():
        for start in range(0, samples, piece):
            pieces.append(clip.add(wave[start : start + piece]))
            heard = sum(len(part) for part in pieces)
            window = features.window(CONFIG)
            whole = min(start + piece, samples) // window
            assert heard == whole * len(encode(encoder, CONFIG, [wave[:window]])[0] if whole else ""), "no chunk waits"
        pieces.append(clip.finish())
        (expected,) = encode(encoder, CONFIG, [wave])
    found = torch.cat(pieces)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_a_clip_without_samples_is_refused(encoder: Encoder) -> None:
    clip = ArrivingClip(encoder, CONFIG)
    assert len(clip.add(torch.zeros(0))) == 0
    with pytest.raises(ValueError, match="no samples"):
        clip.finish()
