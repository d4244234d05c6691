"""The Step-Audio network beside transformers' own Qwen2-Audio encoder, alone and in company, saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2AudioEncoderConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from models.audio import register
from models.audio.config import StepAudioEncoderConfig
from models.audio.modeling import Encoder, StepAudio2ForCausalLM
from models.audio.released import encoder_name
from models.load import build
from models.settings import AudioConfig, BuildConfig
from models.tokenizer import VOCABULARY
from rl.types import AUDIO_PATCH


def waves(*seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, max(1, round(s * 16000))).astype(np.float32) for s in seconds]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StepAudio2ForCausalLM:
    config = BuildConfig(hidden_size=64, layers=2, heads=2, audio=AudioConfig(mel_bins=16, hidden_size=32, layers=2))
    folder = build(config, tmp_path_factory.mktemp("m") / "m", seed=0)
    register()
    return AutoModelForCausalLM.from_pretrained(folder)


def test_the_encoder_is_qwen2_audios() -> None:
    """That class takes 3,000 frames only: on them both agree."""
    torch.manual_seed(0)
    theirs = Qwen2AudioEncoder(
        Qwen2AudioEncoderConfig(
            num_mel_bins=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=128, d_model=32
        )
    ).eval()
    ours = Encoder(StepAudioEncoderConfig(n_mels=16, n_audio_state=32, n_audio_head=2, n_audio_layer=2)).eval()
    ours.load_state_dict({encoder_name(name): tensor for name, tensor in theirs.state_dict().items()})
    assert {encoder_name(name, inverse=True) for name in ours.state_dict()} == theirs.state_dict().keys()
    mel = torch.randn(3000, 16)
    with torch.no_grad():
        expected = theirs(mel.T[None]).last_hidden_state[0]
        torch.testing.assert_close(ours([mel])[0], expected, atol=1e-5, rtol=0)


def test_a_clip_sounds_the_same_in_any_company(model: StepAudio2ForCausalLM) -> None:
    clips = waves(0, 0.01, 0.2, 0.21, 0.22, 0.25, 0.5, 0.55, 1, 1.3, 3, 3.3, 24, 26, 40)
    with torch.no_grad():
        together = model.encode(clips)
        heard = model.adapt(together)
        for clip, encoded, adapted in zip(clips, together, heard, strict=True):
            (alone,) = model.encode([clip])
            assert (alone - encoded).abs().max() <= 1e-5
            assert (model.adapt([alone])[0] - adapted).abs().max() <= 1e-5


def test_chunks_are_encoded_one_by_one(model: StepAudio2ForCausalLM) -> None:
    (long,) = waves(60)
    pieces = [long[:400_000], long[400_000:800_000], long[800_000:]]
    with torch.no_grad():
        (whole,) = model.adapt(model.encode([long]))
        torch.testing.assert_close(whole, torch.cat(model.adapt(model.encode(pieces))), atol=1e-5, rtol=0)


def test_cost_grows_with_the_clip(model: StepAudio2ForCausalLM) -> None:
    """Multiplications of the encoder: half a second costs a fiftieth of 25 s or less."""
    from torch.utils.flop_counter import FlopCounterMode

    def cost(seconds: float) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.encode(waves(seconds))
        return counter.get_total_flops()

    assert cost(0.5) * 45 < cost(25)


def test_it_generates_and_learns(model: StepAudio2ForCausalLM) -> None:
    """Through transformers' own `generate`, with and without cache, from waves and from features."""
    patch = VOCABULARY[AUDIO_PATCH]
    (wave,) = waves(0.5)
    ids = torch.tensor([[1, 2, *[patch] * 7, 3]])
    written = [
        model.generate(input_ids=ids, sounds=sounds, max_new_tokens=8, do_sample=False, use_cache=cached).tolist()
        for sounds in ([torch.from_numpy(wave)], [model.encode([wave])[0].detach()])
        for cached in (True, False)
    ]
    assert all(w == written[0] for w in written)
    loss = model(input_ids=ids, sounds=model.encode([wave]), labels=ids).loss
    loss.backward()
    assert all(p.grad is not None for p in [*model.adapter.parameters(), *model.encoder.conv1.parameters()])
    model.zero_grad(set_to_none=True)
