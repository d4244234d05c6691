"""Features of clips over real actors: encoded once, shared by all, forgotten when the encoder changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from worlds import Seat, ragged_batch

from models.augment import AugmentConfig
from models.heads import LogprobModel
from models.hearing import clip_counter
from models.load import build, load_model, load_tokenizer
from models.settings import AudioConfig, BuildConfig, ModelConfig
from rl.algorithms.objective import Objective
from rl.audio import SAMPLE_RATE, encode, waveform
from rl.data.chat import Chat
from rl.data.collate import collate_demonstrations
from rl.types import Clip, Demonstration, Message, Prompt
from rl.workers import audio_features, audio_worker
from rl.workers.audio_features import AudioFeatures
from rl.workers.audio_worker import AudioWorker, LanguageModelWorker
from rl.workers.critic_group import CriticGroup
from rl.workers.group import PolicyGroup
from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer_config import TrainerConfig


def tone(hz: float, seconds: float) -> Clip:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return Clip(data=encode((0.4 * np.sin(2 * np.pi * hz * t)).astype(np.float32)))


LOW, HIGH, LONG = tone(200, 0.3), tone(600, 0.4), tone(300, 1.1)
PROMPTS = [
    Prompt(id, (Message("user", "<audio_patch>" * len(clips) + "?"),), "x", "", clips, Demonstration("why", "x"))
    for id, clips in {"a": (LOW,), "b": (LOW, HIGH), "text": (), "c": (LONG, LOW)}.items()
]


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = BuildConfig(hidden_size=64, layers=1, heads=2, audio=AudioConfig(hidden_size=32, layers=1, heads=1))
    return build(config, tmp_path_factory.mktemp("models") / "listener", seed=3)


@pytest.fixture
def group(worlds):
    """A group of that kind over `count` ranks."""

    def make(kind, count: int, shared: AudioFeatures | None = None, **settings):
        role = "policy" if kind is PolicyGroup else "critic"
        seats = [Seat(actor, role) for actor in worlds(count).actors]
        return kind(seats, TrainerConfig(ranks=count, **settings), shared)

    return make


def test_clips_are_encoded_once_for_every_role(group, listener: Path) -> None:
    policy = group(PolicyGroup, 1)
    critic = group(CriticGroup, 1, policy.audio_features)
    for role in (policy, critic):
        role.load(listener, ModelConfig(path=str(listener)), OptimizerConfig())
    chat = Chat(load_tokenizer(listener), count_audio_tokens=clip_counter(listener))
    batch = collate_demonstrations(PROMPTS, chat, 200)
    logprobs_A, values_A = policy.logprobs(batch).get(), critic.values(batch).get()
    assert logprobs_A.shape == values_A.shape == batch.rollout_logprobs_A.shape
    assert (policy.audio_features.clips_requested, policy.audio_features.clips_encoded) == (10, 3)

    alone = [policy.logprobs(batch.select([row])).get() for row in range(len(PROMPTS))]
    torch.testing.assert_close(torch.cat(alone), logprobs_A, atol=1e-5, rtol=0)
    swapped = replace(batch, clips_N=((HIGH,), *batch.clips_N[1:]))
    assert swapped.tokens_T is batch.tokens_T
    with pytest.raises(ValueError, match="audio tokens"):  # another length than the prompt was made for
        policy.logprobs(swapped).get()

    policy.load(listener, ModelConfig(path=str(listener)), OptimizerConfig())
    policy.logprobs(batch).get()
    assert policy.audio_features.clips_encoded == 3, "the same encoder: nothing is encoded again"
    policy.audio_features.use_encoder("another")
    policy.logprobs(batch).get()
    assert policy.audio_features.clips_encoded == 6


def test_a_frozen_encoder_is_put_into_the_store_once(group, listener: Path) -> None:
    policy = group(PolicyGroup, 1)
    policy.load(listener, ModelConfig(path=str(listener)), OptimizerConfig())
    first, second = list(policy.weights().buckets), list(policy.weights().buckets)
    names = [{name for bucket in buckets for name in ray.get(bucket["tensors"])} for buckets in (first, second)]
    assert names[0] == names[1] == {name for name, _ in load_model(listener).named_parameters()}
    lasting = [[bucket for bucket in buckets if "frozen" in bucket] for buckets in (first, second)]
    assert lasting[0] == lasting[1]
    assert {name.partition(".")[0] for bucket in lasting[0] for name in ray.get(bucket["tensors"])} == {"encoder"}
    policy.load(listener, ModelConfig(path=str(listener)), OptimizerConfig())
    (again,) = (bucket for bucket in policy.weights().buckets if "frozen" in bucket)
    assert again["frozen"] == lasting[0][0]["frozen"], "the same encoder has the same name"


@pytest.mark.parametrize(("zero_stage", "train_encoder"), [(2, True), (3, False)])
def test_two_ranks_hear_as_one_does(group, listener: Path, zero_stage: int, train_encoder: bool) -> None:
    model = ModelConfig(path=str(listener), train_encoder=train_encoder)
    batch = collate_demonstrations(
        PROMPTS, Chat(load_tokenizer(listener), count_audio_tokens=clip_counter(listener)), 200
    )
    heard = []
    for count in (1, 2):
        policy = group(PolicyGroup, count, zero_stage=zero_stage, tokens_per_microbatch=64)
        policy.load(listener, model, OptimizerConfig(learning_rate=1e-3))
        rows, objective = [range(len(batch))], Objective(policy_loss="nll")
        report = policy.update(batch, rows, [1e-3], objective, 200).get()
        logprobs_A = policy.logprobs(batch).get()
        policy.load_encoder(listener, model, OptimizerConfig(), [2, 2])
        clips, targets = [LOW, HIGH, LONG], [[0, 1], [1, -1], [0, 0]]
        taught = policy.fit_encoder(clips, targets, 1e-3, AugmentConfig(), seed=5).get()
        heard.append((report, logprobs_A, taught))
    (alone, logprobs_A, taught), (shared, logprobs_two_A, taught_two) = heard
    for one, two in ((alone, shared), (taught, taught_two)):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    torch.testing.assert_close(logprobs_two_A, logprobs_A, atol=2e-4, rtol=0)


def test_the_longest_unused_features_make_room(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = AudioFeatures([])
    shared.features.update({name: (ray.put(name), 100) for name in "abcd"})
    shared.names = {Clip(data=name.encode()): name for name in "abcd"}
    monkeypatch.setattr(audio_features, "CACHE_BYTES", 250)
    shared._evict(1)
    assert list(shared.features) == ["c", "d"]
    assert [clip.data for clip in shared.names] == [b"c", b"d"], "a clip is forgotten with its features"
    shared._evict(2)
    assert list(shared.features) == ["c", "d"]
    monkeypatch.setattr(audio_features, "CACHE_BYTES", 0)
    shared._evict(1)
    assert list(shared.features) == ["d"], "what the batch needs stays"


def test_a_rank_holds_features_by_their_size_and_no_handles(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle that it held would keep in the object store what the driver has dropped."""
    worker = AudioWorker(0, 1, 1)
    worker.features_by_handle = {}
    monkeypatch.setattr(audio_worker, "CACHE_BYTES", 100)
    first, second, third = (ray.put(torch.full((5, 4), float(number))) for number in range(3))  # of 80 bytes
    held = []
    for handles in ([first, second], [first], [third]):
        batch = replace(ragged_batch([4] * len(handles)), clips_N=tuple((handle,) for handle in handles))
        read = [float(features[0, 0]) for features in worker.clip_tensors(batch)]
        held.append((read, list(worker.features_by_handle)))
    names = first.hex(), second.hex(), third.hex()
    assert held == [([0, 1], [*names[:2]]), ([0], [names[0]]), ([2], [names[0], names[2]])]


def test_a_folder_that_is_named_like_a_tokenizers_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    worker = LanguageModelWorker(0, 1, 1)
    worker.keep_tokenizer(str(tmp_path), None)
    assert worker.tokenizer == {"tokenizer.json": b"{}"}


def test_without_a_policy_a_reward_model_hears_with_the_encoder_alone(group, listener: Path) -> None:
    policy, reward_model = group(PolicyGroup, 1), group(CriticGroup, 1)
    for role in (policy, reward_model):
        role.load(listener, ModelConfig(path=str(listener)), OptimizerConfig())
    batch = collate_demonstrations(
        PROMPTS, Chat(load_tokenizer(listener), count_audio_tokens=clip_counter(listener)), 200
    )
    assert reward_model.audio_features.encoder == ""
    reward_model.audio_features.borrow_encoder(listener, "float32")
    assert reward_model.audio_features.encoder == policy.audio_features.encoder != ""
    lent, own = (
        reward_model.audio_features.replace_clips(batch).clips_N,
        policy.audio_features.replace_clips(batch).clips_N,
    )
    for one, other in zip((h for row in lent for h in row), (h for row in own for h in row), strict=True):
        torch.testing.assert_close(ray.get(one), ray.get(other))
    assert reward_model.values(batch).get().shape == batch.rollout_logprobs_A.shape
    reward_model.load(listener, ModelConfig(path=str(listener)), OptimizerConfig())
    assert reward_model.audio_features.replace_clips(replace(batch)).clips_N == lent, (
        "a newer reward model hears as before"
    )


def test_an_encoder_that_trains(group, listener: Path) -> None:
    """Its gradient is autograd's; afterwards the engines are given it, and the critic hears anew."""
    batch = collate_demonstrations(
        PROMPTS, Chat(load_tokenizer(listener), count_audio_tokens=clip_counter(listener)), 200
    )
    model, plain = (
        ModelConfig(path=str(listener), train_encoder=True),
        LogprobModel(listener, "float32", train_encoder=True),
    )
    waves = [torch.tensor(waveform(clip)) for clips in batch.clips_N for clip in clips]
    (-plain(batch.tokens_T, batch.lengths_N, batch.action_mask_T, 1.0, waves)[0].mean()).backward()
    expected = float(torch.stack([p.grad.norm() for p in plain.parameters() if p.grad is not None]).norm())
    before = {name: weight.detach().clone() for name, weight in load_model(listener).named_parameters()}
    critic = group(CriticGroup, 1, (policy := group(PolicyGroup, 1, tokens_per_microbatch=64)).audio_features)
    for role in (policy, critic):
        role.load(listener, model, OptimizerConfig())
    critic.values(batch).get()
    assert (policy.audio_features.clips_requested, policy.audio_features.clips_encoded) == (5, 3)
    learning = policy.update(batch, [range(len(batch))], [1e-3], Objective(policy_loss="nll"), 200)
    critic.values(batch).get()
    assert policy.audio_features.clips_encoded == 3, "what the step began with"
    assert learning.get()["grad_norm"] == pytest.approx(expected, rel=1e-4)
    critic.values(batch).get()
    assert policy.audio_features.clips_encoded == 6
    policy.load(listener, model, OptimizerConfig())
    critic.values(batch).get()
    assert policy.audio_features.clips_encoded == 9, "the encoder of before is not the one that has learned"
    policy.update(batch, [range(len(batch))], [1e-3], Objective(policy_loss="nll"), 200).get()
    sent = {name: array for bucket in policy.weights().buckets for name, array in ray.get(bucket["tensors"]).items()}
    assert sent.keys() == before.keys()
    changed = {name.partition(".")[0] for name, weight in before.items() if (sent[name] != weight.numpy()).any()}
    assert {"encoder", "adapter"} <= changed
