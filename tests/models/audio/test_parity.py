"""What the engine hears and writes is what transformers and the trainer's heads compute, before and after the adapter
learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.heads import LogprobModel
from models.hearing import clip_counter
from models.load import load_tokenizer, save_model
from rl.audio import waveform
from rl.data.chat import Chat
from rl.types import AUDIO_PATCH, Message, Prompt
from rollouts.requests import Completion, Request
from rollouts.sampler import Sampler


def chat_of(model: Path) -> Chat:
    return Chat(load_tokenizer(model), count_audio_tokens=clip_counter(model))


def write(
    engine: Any, chat: Chat, prompts: Sequence[Prompt], version: int, temperature: float, max_tokens: int = 12
) -> list[Completion]:
    """What the engine writes to each prompt, all at once."""
    import ray

    requests = [
        Request((i, 0), tuple(chat.prompt(p.messages, p.clips)), 100 + i, max_tokens, temperature, p.clips)
        for i, p in enumerate(prompts)
    ]
    done = ray.get(engine.advance.remote(version, requests, 1e9))
    return sorted(done, key=lambda c: c.key)


def gap(model: LogprobModel, prompts: Sequence[Prompt], done: Sequence[Completion]) -> float:
    """Largest difference between the engine's logprobs and the trainer's, in one pack, each clip encoded once."""
    clips = [*{clip for p in prompts for clip in p.clips}]
    heard = dict(zip(clips, model.encode([waveform(clip) for clip in clips]), strict=True))
    tokens = [torch.tensor(c.tokens) for c in done]
    action_mask_T = torch.cat([torch.arange(len(c.tokens)) >= c.prompt_length for c in done])
    lengths_N = torch.tensor([len(t) for t in tokens])
    with torch.no_grad():
        sounds = [heard[clip] for p in prompts for clip in p.clips]
        logprobs_A, _ = model(torch.cat(tokens), lengths_N, action_mask_T, 1.0, sounds)
    return float(np.abs(logprobs_A.numpy() - np.concatenate([c.logprobs for c in done])).max())


def weights(model: LogprobModel) -> dict[str, torch.Tensor]:
    """All of them, those of the frozen encoder too."""
    named = [*model.named_parameters(), *model.frozen_parameters()]
    return {name.removeprefix("lm."): weight.detach() for name, weight in named}


def handles(model: LogprobModel) -> list[dict[str, Any]]:
    """The weights as `PolicyWorker.weights` gives them."""
    import ray

    return [{"tensors": ray.put({name: weight.numpy() for name, weight in weights(model).items()})}]


@pytest.fixture(scope="module")
def policy(listener: Path) -> LogprobModel:
    return LogprobModel(listener, "float32")


def generated(folder: Path, prompts: Sequence[Prompt], done: Sequence[Completion]) -> list[list[int]]:
    """Return what transformers' `generate` writes greedily to the prompts as the engine expanded them."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder)
    clips = [*{clip for p in prompts for clip in p.clips}]
    with torch.no_grad():
        heard = dict(zip(clips, plain.encode([waveform(clip) for clip in clips]), strict=True))
        return [
            plain.generate(
                input_ids=torch.tensor(c.tokens[: c.prompt_length])[None],
                sounds=[heard[clip] for clip in p.clips],
                max_new_tokens=12,
                do_sample=False,
            )[0].tolist()
            for p, c in zip(prompts, done, strict=True)
        ]


def test_greedy_tokens_are_transformers(audio_engine: Any, listener: Path, prompts: list[Prompt]) -> None:
    import ray

    chat = chat_of(listener)
    ray.get(audio_engine.load.remote(1, [{"folder": str(listener)}]))
    done = write(audio_engine, chat, prompts, 1, temperature=0.0)
    for prompt, completion in zip(prompts, done, strict=True):
        expanded = chat.prompt(prompt.messages, prompt.clips, expand=True)
        assert completion.tokens[: completion.prompt_length].tolist() == expanded
    assert generated(listener, prompts, done) == [c.tokens.tolist() for c in done]
    written = {tuple(c.tokens[c.prompt_length :]) for c in done}
    assert len(written) > len(prompts) / 2, "what is written depends on what is heard"


def test_logprobs_are_the_trainers_also_when_the_adapter_has_learned(
    audio_engine: Any, listener: Path, prompts: list[Prompt], policy: LogprobModel, tmp_path: Path
) -> None:
    """The very same clips before and after: the engine keeps nothing that the old adapter made of them."""
    import ray

    chat = chat_of(listener)
    ray.get(audio_engine.load.remote(1, [{"folder": str(listener)}]))
    before = write(audio_engine, chat, prompts, 1, temperature=1.0)
    assert gap(policy, prompts, before) <= 1e-5
    silent = [i for i in range(len(prompts)) if not prompts[i].clips]
    assert abs(gap(policy, [prompts[i] for i in silent], [before[i] for i in silent])) <= 1e-5

    learned, generator = LogprobModel(listener, "float32"), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in learned.lm.adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    ray.get(audio_engine.load.remote(2, handles(learned)))
    after = write(audio_engine, chat, prompts, 2, temperature=1.0)
    assert gap(learned, prompts, after) <= 1e-5
    assert gap(policy, prompts, after) > 0.01
    same = [i for i in range(len(prompts)) if np.array_equal(before[i].tokens, after[i].tokens)]
    assert set(silent) <= set(same), "what has no clip is written as before"
    save_model(learned.lm, tmp_path, weights(learned))
    greedy = write(audio_engine, chat, prompts[:12], 2, temperature=0.0)
    assert generated(tmp_path, prompts[:12], greedy) == [c.tokens.tolist() for c in greedy]


def test_an_engine_takes_a_frozen_encoder_once(
    audio_engine: Any, listener: Path, prompts: list[Prompt], policy: LogprobModel
) -> None:
    """Under a name that it holds it takes nothing, under another it does; what overwrites the encoder ends the holding."""
    import ray

    chat, silence = chat_of(listener), {n: torch.zeros_like(w) for n, w in policy.frozen_parameters()}

    def bucket(weights: dict[str, torch.Tensor], **frozen: str) -> dict[str, Any]:
        return {"tensors": ray.put({n.removeprefix("lm."): w.detach().numpy() for n, w in weights.items()}), **frozen}

    def gap_with(version: int, *buckets: dict[str, Any]) -> float:
        ray.get(audio_engine.load.remote(version, [bucket(dict(policy.named_parameters())), *buckets]))
        return gap(policy, prompts, write(audio_engine, chat, prompts, version, temperature=1.0))

    first = bucket(dict(policy.frozen_parameters()), frozen="a/0")
    assert gap_with(1, first) <= 1e-5
    assert gap_with(2, bucket(silence, frozen="a/0")) <= 1e-5
    assert gap_with(3, bucket(silence, frozen="b/0")) > 0.01
    assert gap_with(4, first) <= 1e-5
    ray.get(audio_engine.load.remote(5, [bucket({**dict(policy.named_parameters()), **silence})]))
    assert gap_with(6, first) <= 1e-5


def test_the_sampler_counts_what_is_heard(audio_engine: Any, listener: Path, prompts: list[Prompt]) -> None:
    """Expanded audio leaves less room; a prompt that it fills, or whose clips have no place, is one line."""
    chat = chat_of(listener)

    def respawn(i: int) -> Any:
        raise AssertionError("no engine died")

    sampler = Sampler([audio_engine], respawn, chat)
    sampler.load(listener, version=1)
    asked = [p for p in prompts if len(chat.prompt(p.messages, p.clips, expand=True)) < 250]
    stream = sampler.generate(asked, samples=2, temperature=1.0, max_sequence_tokens=256, seed=0)
    rollouts = [r for batch in stream for r in batch]
    assert len(rollouts) == 2 * len(asked)
    for r in rollouts:
        expanded = chat.prompt(r.prompt.messages, r.prompt.clips, expand=True)
        assert r.tokens[: len(expanded)].tolist() == expanded
        assert r.action_mask.tolist() == [False] * len(expanded) + [True] * (len(r.tokens) - len(expanded))
        assert len(r.tokens) <= 256
        assert r.truncated == (len(r.tokens) == 256 and r.tokens[-1] != chat.end)
    for prompt, line in (
        (next(p for p in prompts if len(p.clips) == 3), r"\d+ tokens leave no room for a response"),
        (Prompt("p", (Message("user", "?"),), clips=prompts[1].clips), "1 clips for 0 <audio_patch> in the messages"),
    ):
        with pytest.raises(ValueError, match=rf"^prompt '{prompt.id}': {line}"):
            next(sampler.generate([prompt], samples=1, temperature=1.0, max_sequence_tokens=32, seed=0))


def test_a_sample_that_began_from_anothers_prefix_hears_its_clip_anew_under_new_weights(
    audio_engine: Any, listener: Path, prompts: list[Prompt]
) -> None:
    """vLLM does not send a worker the clips that lie within a cached prefix, which new weights make it forget."""
    import ray

    chat, clip = chat_of(listener), next(p.clips[0] for p in prompts if p.clips)
    prompt = Prompt("long", (Message("user", f"{AUDIO_PATCH} {'what is it? ' * 30}"),), clips=(clip,))
    ids = tuple(chat.prompt(prompt.messages, prompt.clips))
    first, second = (Request((i, 0), ids, 100 + i, 40, 1.0, prompt.clips) for i in range(2))
    ray.get(audio_engine.load.remote(1, [{"folder": str(listener)}]))
    (alone,) = ray.get(audio_engine.advance.remote(1, [second], 1e9))
    ray.get(audio_engine.load.remote(2, [{"folder": str(listener)}]))  # nothing is left of it
    ray.get(audio_engine.advance.remote(2, [first], 1e9))  # its prefix stays
    begun = ray.get(audio_engine.advance.remote(2, [second], 0.0))  # one step
    assert begun == []
    ray.get(audio_engine.load.remote(3, [{"folder": str(listener)}]))  # the same weights
    (interrupted,) = ray.get(audio_engine.advance.remote(3, [], 1e9))
    assert len(interrupted.spans) == 2, "it was being written"
    assert np.array_equal(interrupted.tokens, alone.tokens)
    assert np.abs(interrupted.logprobs - alone.logprobs).max() <= 1e-5
