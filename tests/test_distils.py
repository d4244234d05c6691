"""A teacher on real engines: the policy's own model agrees with it to the last digit, and another one is caught up with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.joined_adapters import join_adapters
from models.load import build
from models.lora import ADAPTER_CONFIG, ADAPTER_FILE, PREFIX
from models.settings import BuildConfig
from rl.recipe import load
from rl.run.tracker import read_stage_metrics
from rl.runner import run

MODEL_FILE = "model.safetensors"


@pytest.mark.timeout(900)
def test_a_teacher_is_read_at_the_rollouts_temperature_with_ears_and_prompts_of_its_own(
    ray_session: None, tmp_path: Path
) -> None:
    """An adapter on two ranks under ZeRO-3, a step ahead. `itself` has the policy's own start as its teacher, so that the first
    step's advantages are nothing but rounding; `larger` goes on from there with another model, which reads a
    description."""
    audio = {"hidden_size": 64, "layers": 1, "heads": 2}
    start = build(_model({"hidden_size": 64, "layers": 2, "heads": 2, "audio": audio}), tmp_path / "start", seed=1)
    text = build(_model({"hidden_size": 128, "layers": 3, "heads": 2}), tmp_path / "text", seed=2)
    arm = {
        "data": "sounds",
        "algorithm": "opd",
        "steps": 2,
        "max_lag": 1,
        "temperature": 0.7,
        "prompts_per_step": 4,
        "samples_per_prompt": 4,
        "max_sequence_tokens": 96,
        "optimizer": {"learning_rate": 1e-2},
    }
    recipe = {
        "name": "distils",
        "model": {"path": str(start), "lora": {"rank": 4}, "think": True},
        "data": {
            "sounds": {"source": "sounds", "args": {"kinds": ["direction", "beats"], "size": 200}},
        },
        "reward": {"parts": [{"verifier": "text"}]},
        "trainer": {"ranks": 2, "zero_stage": 3},
        "stages": [
            {"rlvr": {**arm, "name": "itself", "teacher": str(start)}},
            {"rlvr": {**arm, "name": "larger", "teacher": str(text), "teacher_template": "{description} {question}"}},
        ],
    }
    run(load(recipe), tmp_path / "run", say=lambda _: None)
    itself, larger = (read_stage_metrics(tmp_path / "run", name) for name in ("itself", "larger"))
    assert abs(itself[0]["kl/teacher"]) < 1e-5
    assert itself[0]["grad_norm/policy"] < 1e-4
    assert max(row["staleness/max"] for row in (*itself, *larger)) == 1
    assert larger[0]["kl/teacher"] > 0.01
    assert larger[0]["grad_norm/policy"] > 1e-3
    stages = [tmp_path / "run" / "stages" / name for name in ("01-itself", "02-larger")]
    check_joined_adapters(start, stages, tmp_path / "joined")


def check_joined_adapters(start: Path, stages: Sequence[Path], out: Path) -> None:
    """The start with the adapters of both stages in one is the model of the second, the part between ear and decoder too."""
    join_adapters([stage / "adapter" for stage in stages], "me/start", out)
    old, new, adapter = (
        load_file(file) for file in (start / MODEL_FILE, stages[-1] / "model" / MODEL_FILE, out / ADAPTER_FILE)
    )
    config = json.loads((out / ADAPTER_CONFIG).read_text())
    assert config["r"] == 8
    for name, weight in new.items():
        module = f"{PREFIX}{name.removesuffix('.weight')}"
        expected = adapter.get(f"{PREFIX}{name}", old[name])  # what trains whole, and what is frozen
        if f"{module}.lora_A.weight" in adapter:
            product = adapter[f"{module}.lora_B.weight"] @ adapter[f"{module}.lora_A.weight"]
            expected = old[name] + config["lora_alpha"] / config["r"] * product
        assert torch.allclose(weight, expected, atol=1e-6), name


def _model(sizes: dict[str, object]) -> BuildConfig:
    from rl.config import build as build_config

    return build_config(BuildConfig, sizes, "model.build")
