"""A served reward model where nothing else trains, so that nobody has loaded a policy; which pairs it is measured on."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from models.load import build
from models.settings import AudioConfig, BuildConfig, ModelConfig
from rl.audio import SAMPLE_RATE, encode
from rl.data.pairs import Pair
from rl.runner.reward_models import RewardModels
from rl.stages.reward_model import SCALE, agreement, split_pairs
from rl.types import Clip, Demonstration, Message, Prompt, Rollout
from rl.workers.cluster import Cluster
from rl.workers.optimizer import OptimizerConfig
from rl.workers.placement import ClusterConfig
from rl.workers.trainer_config import TrainerConfig
from rollouts.serving import EngineConfig


def test_it_scores_text_and_hears_without_a_policy(ray_session: None, tmp_path: Path) -> None:
    config = BuildConfig(hidden_size=64, layers=1, heads=2, audio=AudioConfig(hidden_size=32, layers=1, heads=1))
    listener, folder = build(config, tmp_path / "listener", seed=3), tmp_path / "taste"
    model = ModelConfig(path=str(listener), think=True)
    clip = Clip(data=encode(np.sin(np.arange(SAMPLE_RATE // 3) / 9).astype(np.float32)))
    with Cluster({"reward_model"}, ClusterConfig(), EngineConfig(), TrainerConfig(), model, listener, 200) as cluster:

        def rollout(id: str, clips: tuple[Clip, ...] = ()) -> Rollout:
            prompt = Prompt(id, (Message("user", "<audio_patch>" * len(clips) + "Which?"),), clips=clips)
            asked, said = cluster.chat.prompt(prompt.messages, clips, expand=True), [*b"this", *cluster.chat.closing]
            written = np.arange(len(asked) + len(said)) >= len(asked)
            return Rollout(prompt, 0, np.array(asked + said), written, np.zeros(len(said)), "stop", 0, "this")

        cluster.reward_model.load(listener, model, OptimizerConfig())
        cluster.reward_model.export(folder)
        (folder / SCALE).write_text(json.dumps({"mean": 0.25}))
        other = shutil.copytree(folder, tmp_path / "other")
        (other / SCALE).write_text(json.dumps({"mean": 4.0}))
        heads = load_file(other / "critic.safetensors")
        save_file({n: w + 1 if "head" in n else w for n, w in heads.items()}, other / "critic.safetensors")
        scorers = RewardModels(lambda: cluster, lambda name: tmp_path / name, lambda: listener)
        scorer = scorers.scorer("taste")
        assert scorer([rollout("text")]) == [-0.25], "an untrained head says 0"
        assert not cluster.audio_features.encoder, "no clip was asked about"
        assert scorer([rollout("text"), rollout("heard", (clip,))]) == [-0.25, -0.25]
        assert (cluster.audio_features.clips_requested, cluster.audio_features.clips_encoded) == (1, 1)
        (differs,) = scorers.scorer("other")([rollout("text")])
        assert differs != -4.0, "its own head"
        with ThreadPoolExecutor(4) as threads:  # as the parts of a reward ask
            asked = ["taste", "other", "taste", "other"]
            told = list(threads.map(lambda name: scorers.scorer(name)([rollout("text")]), asked))
        assert told == [[-0.25], [differs], [-0.25], [differs]]


def test_the_same_question_about_another_sound_is_another_prompt() -> None:
    chosen, rejected = Demonstration("", "a"), Demonstration("", "b")

    def pair(sound: int, number: int) -> Pair:
        clip = Clip(data=f"sound {sound}".encode())
        return Pair(
            Prompt(f"{sound}/{number}", (Message("user", "<audio_patch>Who?"),), "a", clips=(clip,)), chosen, rejected
        )

    pairs = [pair(sound, number) for sound in range(400) for number in range(2)]
    learned, measured = split_pairs(pairs, 0.1)
    assert len(measured) / len(pairs) == pytest.approx(0.1, abs=0.04), "by the text alone it would be all or nothing"
    sounds = [{pair.prompt.clips[0].data for pair in side} for side in (learned, measured)]
    assert not sounds[0] & sounds[1], "both pairs of a prompt are on one side"


def test_pairs_of_one_prompt_are_one_prompt() -> None:
    """Three pairs of `a` are right, wrong and tied, the one of `b` is right: half and all of two prompts."""
    rewards = [2.0, 0.0, 0.0, 2.0, 1.0, 1.0, 3.0, 1.0]
    metrics = agreement(rewards, ["a", "a", "a", "b"])
    assert (metrics["accuracy"], metrics["prompts"]) == (0.75, 2.0)
    assert (metrics["accuracy/low"], metrics["accuracy/high"]) == (0.5, 1.0)
    assert metrics["margin"] == 0.5


def test_a_tie_is_half_right_with_half_a_confidence() -> None:
    metrics = agreement([1.0, 1.0, -2.0, -2.0], ["a", "b"])
    assert (metrics["accuracy"], metrics["calibration_error"]) == (0.5, 0.0)
