"""A composed model in vLLM: what the engine hears and writes is what transformers and the trainer's heads compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ears
import numpy as np
import pytest
import torch

from models.compose import compose
from models.heads import LogprobModel
from models.hearing import clip_counter
from models.load import load_tokenizer
from models.settings import ComposeConfig
from rl.audio import waveform
from rl.data.chat import Chat
from rl.types import Prompt
from rollouts.requests import Completion, Request

PAIRS = {
    "llama": "whisper",
    "qwen2": "qwen2_audio",
    "qwen3": "whisper",
    "gemma3_text": "whisper",
    "qwen3_moe": "qwen2_audio",
    "smollm3": "whisper",
}


@pytest.fixture(scope="module", params=PAIRS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = tmp_path_factory.mktemp("parts")
    decoder = ears.decoder(parts / "decoder", request.param)
    encoder = getattr(ears, PAIRS[request.param])(parts / "encoder")
    return compose(ComposeConfig(str(decoder), str(encoder)), parts / "composed", "float32", 0)


def gap(model: LogprobModel, prompts: list[Prompt], samples: list[Completion]) -> float:
    """Largest difference between the engine's logprobs and the trainer's, in one pack."""
    tokens = [torch.tensor(sample.tokens) for sample in samples]
    action_mask_T = torch.cat([torch.arange(len(s.tokens)) >= s.prompt_length for s in samples])
    sounds = model.encode([waveform(clip) for prompt in prompts for clip in prompt.clips])
    with torch.no_grad():
        logprobs_A, _ = model(torch.cat(tokens), torch.tensor([len(t) for t in tokens]), action_mask_T, 1.0, sounds)
    return float(np.abs(logprobs_A.numpy() - np.concatenate([sample.logprobs for sample in samples])).max())


def generate(folder: Path, prompts: list[Prompt], samples: list[Completion]) -> list[list[int]]:
    """Return what transformers' `generate` writes greedily to the prompts as the engine expanded them."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.eos_token_id = load_tokenizer(folder).eos_token_id
    written = []
    for prompt, sample in zip(prompts, samples, strict=True):
        with torch.no_grad():
            ids = torch.tensor(sample.tokens[: sample.prompt_length])[None]
            sounds = model.encode([waveform(clip) for clip in prompt.clips]) if prompt.clips else None
            written.append(model.generate(input_ids=ids, sounds=sounds, max_new_tokens=8, do_sample=False)[0].tolist())
    return written


def test_engine_transformers_and_trainer_agree_before_and_after_an_update(
    folder: Path, prompts: list[Prompt], start_listener: Callable[[Path], Any]
) -> None:
    import ray

    chat = Chat(load_tokenizer(folder), False, count_audio_tokens=clip_counter(folder))
    model = LogprobModel(folder, "float32")
    asked = prompts[:24]
    engine = start_listener(folder)

    def sample(version: int, temperature: float) -> list[Completion]:
        requests = [
            Request((i, 0), tuple(chat.prompt(p.messages, p.clips)), i, 8, temperature, p.clips)
            for i, p in enumerate(asked)
        ]
        return sorted(ray.get(engine.advance.remote(version, requests, 1e9)), key=lambda c: c.key)

    ray.get(engine.load.remote(1, [{"folder": str(folder)}]))
    greedy = sample(1, 0.0)
    for prompt, completion in zip(asked, greedy, strict=True):
        expanded = chat.prompt(prompt.messages, prompt.clips, expand=True)
        assert completion.tokens[: completion.prompt_length].tolist() == expanded
    assert generate(folder, asked, greedy) == [completion.tokens.tolist() for completion in greedy]
    before = sample(1, 1.0)
    assert gap(model, asked, before) <= 1e-5

    with torch.no_grad():  # adapter and decoder learn, head and embedding too
        for name, parameter in model.named_parameters():
            if "adapter.linear2.weight" in name or "embed_tokens" in name or "down_proj" in name:
                parameter.mul_(1.5)
    parts = [
        ray.put({name.removeprefix("lm."): weight.detach().numpy() for name, weight in weights})
        for weights in (model.named_parameters(), model.frozen_parameters())
    ]
    for version in (2, 3):  # the second time the engine has the encoder
        ray.get(engine.load.remote(version, [{"tensors": parts[0]}, {"tensors": parts[1], "frozen": "encoder"}]))
    after = sample(3, 1.0)
    assert gap(model, asked, after) <= 1e-5
    assert gap(model, asked, before) > 0.01
    ray.kill(engine)
