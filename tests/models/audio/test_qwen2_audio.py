"""Another family of audio models through the same path: its processor expands, our heads compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from models.audio import register
from models.heads import LogprobModel, ValueModel
from models.hearing import clip_counter
from models.load import load_model, load_tokenizer, public_name, save_model
from models.tokenizer import byte_tokenizer
from rl.audio import waveform
from rl.data.chat import Chat
from rl.types import Clip, Prompt
from rollouts.requests import Request


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, loud: Callable[[Any, int], Any]) -> Path:
    """Qwen2-Audio, tiny and random, with a processor of its own and a byte tokenizer."""
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]})
    audio = {
        "num_mel_bins": 128,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "d_model": 32,
    }
    text = {"model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 64, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 128, "eos_token_id": 258}
    patch = tokenizer.get_vocab()["<|AUDIO|>"]
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=patch)
    )
    made = tmp_path_factory.mktemp("models") / "qwen2_audio"
    Qwen2AudioProcessor(WhisperFeatureExtractor(128), tokenizer, tokenizer.chat_template).save_pretrained(made)
    save_model(loud(model, 0), made, model.state_dict())
    return made


@pytest.fixture(scope="module")
def asked(prompts: list[Prompt]) -> list[Prompt]:
    """Those without a clip of more than 30 s."""
    return [p for p in prompts if all(len(waveform(clip)) <= 30 * 16000 for clip in p.clips)][:24]


def test_weights_have_the_names_that_engines_read(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    names = load_file(folder / "model.safetensors").keys()
    assert {public_name(model, name) for name, _ in model.named_parameters()} == names
    assert {"language_model.model.norm.weight", "language_model.lm_head.weight", "audio_tower.conv1.weight"} < names
    save_model(model, tmp_path, dict(model.named_parameters()))
    again = dict(load_model(tmp_path).named_parameters())
    assert all(torch.equal(again[name], p) for name, p in model.named_parameters())


def test_engine_and_heads_agree_before_and_after_an_update(
    folder: Path, asked: list[Prompt], start_listener: Callable[[Path], Any]
) -> None:
    import ray

    register()
    engine = start_listener(folder)
    chat = Chat(load_tokenizer(folder), count_audio_tokens=clip_counter(folder))
    model = LogprobModel(folder, "float32")
    requests = [
        Request((i, 0), tuple(chat.prompt(p.messages, p.clips)), i, 8, 1.0, p.clips) for i, p in enumerate(asked)
    ]

    def written(version: int) -> list[Any]:
        return sorted(ray.get(engine.advance.remote(version, requests, 1e9)), key=lambda c: c.key)

    def gap(done: list[Any]) -> float:
        tokens = [torch.tensor(c.tokens) for c in done]
        action_mask_T = torch.cat([torch.arange(len(c.tokens)) >= c.prompt_length for c in done])
        sounds = model.encode([waveform(clip) for p in asked for clip in p.clips])
        with torch.no_grad():
            lengths_N = torch.tensor([len(t) for t in tokens])
            logprobs_A, _ = model(torch.cat(tokens), lengths_N, action_mask_T, 1.0, sounds)
        return float(np.abs(logprobs_A.numpy() - np.concatenate([c.logprobs for c in done])).max())

    ray.get(engine.load.remote(1, [{"folder": str(folder)}]))
    before = written(1)
    for prompt, completion in zip(asked, before, strict=True):
        expanded = chat.prompt(prompt.messages, prompt.clips, expand=True)
        assert completion.tokens[: completion.prompt_length].tolist() == expanded
    assert gap(before) <= 1e-5
    with torch.no_grad():
        model.hearing.adapter.linear.weight.mul_(1.5)  # type: ignore[union-attr]
    parts = [
        ray.put({public_name(model.lm, n.removeprefix("lm.")): p.detach().numpy() for n, p in weights})
        for weights in (model.named_parameters(), model.frozen_parameters())
    ]
    for version in (2, 3):  # the second time the engine has the encoder
        ray.get(engine.load.remote(version, [{"tensors": parts[0]}, {"tensors": parts[1], "frozen": "encoder"}]))
    after = written(3)
    assert gap(after) <= 1e-5
    assert gap(before) > 0.01
    ray.kill(engine)


def test_its_limit_is_30_s(folder: Path, clips: list[Clip]) -> None:
    count = clip_counter(folder)
    assert count
    assert [count(clip) for clip in clips[:3]] == [5, 8, 12]
    with pytest.raises(ValueError, match=r"^a clip of 40 s; Qwen2-Audio hears more than 0.02 and at most 30 s$"):
        count(clips[-1])


def test_a_clip_of_two_mel_frames_has_no_token(folder: Path, tmp_path: Path) -> None:
    def clip(samples: int) -> Clip:
        file = tmp_path / f"{samples}.wav"
        soundfile.write(file, np.zeros(samples), 16000)
        return Clip(str(file))

    count = clip_counter(folder)
    assert count
    assert count(clip(321)) == 1
    with pytest.raises(
        ValueError, match=r"320\.wav: a clip of 0.02 s; Qwen2-Audio hears more than 0.02 and at most 30 s$"
    ):
        count(clip(320))


def test_its_critic_hears_too(folder: Path, clips: list[Clip]) -> None:
    policy, critic = LogprobModel(folder, "float32"), ValueModel(folder, "float32")
    features = policy.encode([waveform(clips[0])])
    pack = torch.tensor([1, *[policy.hearing.patch_id] * 5, 2, 3]), torch.tensor([8]), torch.arange(8) > 5
    assert critic(*pack, features).tolist() == [0.0, 0.0]
    assert not any("audio_tower" in name for name, _ in critic.named_parameters())
