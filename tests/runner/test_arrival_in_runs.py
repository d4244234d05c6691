"""Runs whose engines do not hold or use the weights of their trainer: they stop in one line, and go on once that is mended."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from faulty_engine import LOST, FaultyEngine
from safetensors.torch import load_file, save_file

from rl.recipe import load
from rl.run.summary import read_summary
from rl.run.tracker import read_metrics
from rl.runner import run
from rl.workers import cluster
from rollouts.arrival import Receipt

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class LosesOneTensor(FaultyEngine):
    """An engine to which one tensor of version 2 does not come."""

    def load(self, version: int, *arguments: Any) -> Receipt:
        self.fault = "lost" if version == 2 else ""
        return super().load(version, *arguments)


def recipe(model: Path, dtype: str = "float32", temperature: float = 1.0, **engines: Any) -> Any:
    words = {
        "source": "reasoning_gym",
        "args": {"dataset": "spell_backward", "size": 60, "config": {"max_word_len": 4}},
    }
    stage = {
        "data": "words",
        "algorithm": "grpo",
        "steps": 3,
        "prompts_per_step": 4,
        "samples_per_prompt": 4,
        "max_sequence_tokens": 48,
        "temperature": temperature,
        "checkpoint_every": 1,
        "optimizer": {"learning_rate": 1e-3},
    }
    return load(
        {
            "name": "tiny",
            "model": {"path": str(model), "dtype": dtype, "think": False},
            "data": {"words": words},
            "reward": {"parts": [{"verifier": "text"}]},
            "engines": {"kv_cache_mb": 64, "count": 2, **engines},
            "stages": [{"rlvr": stage}],
        }
    )


@pytest.fixture(scope="module")
def sharp(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that prefers some tokens to others, as a trained one does."""
    folder = Path(shutil.copytree(tied, tmp_path_factory.mktemp("models") / "sharp"))
    state = load_file(folder / "model.safetensors")
    save_file(
        {**state, "model.norm.weight": 4 * state["model.norm.weight"]}, folder / "model.safetensors", {"format": "pt"}
    )
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_temperature_stops_the_run(ray_session: None, sharp: Path, tmp_path: Path, dtype: str) -> None:
    """Engines report logprobs at 1 of what they sample at 0.7."""
    wrong = recipe(sharp, dtype, temperature=0.7, count=1, vllm={"logprobs_mode": "raw_logprobs"})
    says = r"^rlvr 'rlvr', step 1: engine and trainer logprobs of the step's samples differ by .*; check dtype, temperature"
    with pytest.raises(ValueError, match=says) as error:
        run(wrong, tmp_path / "run", say=lambda _: None)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run").glob("stages/*/checkpoints/step-*"))
    (row,) = read_metrics(tmp_path / "run")
    assert row["probe_gap/mean"] < {"float32": 1e-4, "bfloat16": 0.1}[dtype], "the weights themselves are right"


def test_a_tensor_that_does_not_arrive_stops_the_run(
    ray_session: None, tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "EngineWorker", LosesOneTensor)
        with pytest.raises(
            ValueError, match=rf"^engine 0, version 2: {LOST} was sent and did not arrive \(1 of 26"
        ) as error:
            run(recipe(tied), out, say=lambda _: None)
    assert "\n" not in str(error.value)
    summary = read_summary(out)
    assert summary is not None
    assert summary.failure is not None
    assert (summary.failure.error, summary.failure.step) == (str(error.value), 2)
    run(recipe(tied, count=1), out, resume=True, say=lambda _: None)
    rows = read_metrics(out)
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["probe_gap/mean"] <= row["probe_gap/max"] < 1e-4
        assert 0 < row["time/proof"] < row["time/step"]
        assert row["time/sync"] >= 0
