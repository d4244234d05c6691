"""A teacher on real engines: the policy's own model agrees with it to the last digit, and another one is caught up with."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.load import build
from models.settings import BuildConfig
from rl.recipe import load
from rl.run.tracker import read_stage_metrics
from rl.runner import run


@pytest.mark.timeout(900)
def test_a_teacher_is_read_at_the_rollouts_temperature_with_ears_and_prompts_of_its_own(
    ray_session: None, tmp_path: Path
) -> None:
    """An adapter on two ranks under ZeRO-3. `itself` has the policy's own start as its teacher, so that the first step's
    advantages are nothing but rounding, and so has `ahead`, a step ahead; `larger` reads a description with another model."""
    audio = {"hidden_size": 64, "layers": 1, "heads": 2}
    start = build(_model({"hidden_size": 64, "layers": 2, "heads": 2, "audio": audio}), tmp_path / "start", seed=1)
    text = build(_model({"hidden_size": 128, "layers": 3, "heads": 2}), tmp_path / "text", seed=2)
    arm = {
        "model": str(start),
        "data": "sounds",
        "algorithm": "opd",
        "steps": 2,
        "temperature": 0.7,
        "prompts_per_step": 4,
        "samples_per_prompt": 2,
        "max_sequence_tokens": 96,
        "optimizer": {"learning_rate": 1e-2},
    }
    recipe = {
        "name": "distils",
        "model": {"path": str(start), "lora": {"rank": 4}, "think": True},
        "data": {
            "sounds": {"source": "sounds", "args": {"kinds": ["direction", "beats"], "size": 200}},
            "read": {"source": "sounds", "args": {"kinds": ["direction"], "size": 200, "described": True}},
        },
        "reward": {"parts": [{"verifier": "text"}]},
        "trainer": {"ranks": 2, "zero_stage": 3},
        "stages": [
            {"rlvr": {**arm, "name": "itself", "teacher": str(start)}},
            {"rlvr": {**arm, "name": "ahead", "teacher": str(start), "data": "read", "max_lag": 1}},
            {"rlvr": {**arm, "name": "larger", "teacher": str(text), "teacher_template": "{description} {question}"}},
        ],
    }
    run(load(recipe), tmp_path / "run", say=lambda _: None)
    itself, ahead, larger = (read_stage_metrics(tmp_path / "run", name) for name in ("itself", "ahead", "larger"))
    for arm_metrics in (itself, ahead):
        assert abs(arm_metrics[0]["kl/teacher"]) < 1e-5
        assert arm_metrics[0]["grad_norm/policy"] < 1e-4
    assert ahead[1]["staleness/max"] == 1
    assert abs(ahead[1]["kl/teacher"]) < 0.1, "its own logprobs are those of the weights that learn"
    assert larger[0]["kl/teacher"] > 0.01
    assert larger[0]["grad_norm/policy"] > 1e-3


def _model(sizes: dict[str, object]) -> BuildConfig:
    from rl.config import build as build_config

    return build_config(BuildConfig, sizes, "model.build")
