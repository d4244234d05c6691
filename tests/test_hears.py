"""A model from scratch learns to listen: its encoder first, then it answers, and without the sound it only guesses."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet
from safetensors.torch import load_file

from rl.recipe import load
from rl.report.lineage import read_lineage
from rl.run.tracker import read_metrics, rollout_files
from rl.runner import run

RECIPE = {
    "name": "hears",
    "model": {"build": {"hidden_size": 64, "layers": 2, "heads": 2, "audio": {"hidden_size": 64, "layers": 1}}},
    "data": {"sounds": {"source": "sounds", "args": {"kinds": ["pitch", "direction"], "size": 1200}}},
    "reward": {"parts": [{"verifier": "text", "weight": 0.8}, {"verifier": "format", "name": "format", "weight": 0.2}]},
    "stages": [
        {"encode": {"data": "sounds", "labels": ["direction", "pitch_bin"], "epochs": 12}},
        {
            "sft": {
                "data": "sounds",
                "epochs": 6,
                "sequences_per_step": 32,
                "max_sequence_tokens": 80,
                "optimizer": {"learning_rate": 3e-3, "warmup_steps": 20},
            }
        },
        {"evaluate": {"data": "sounds", "limit": 60, "max_sequence_tokens": 80, "controls": ["silenced", "swapped"]}},
        {
            "rlvr": {
                "data": "sounds",
                "steps": 2,
                "prompts_per_step": 4,
                "samples_per_prompt": 4,
                "max_sequence_tokens": 80,
            }
        },
    ],
}


@pytest.mark.timeout(900)
def test_a_model_from_scratch_learns_to_listen(ray_session: None, tmp_path: Path) -> None:
    summary = run(load(RECIPE), tmp_path / "run", say=lambda _: None)
    stage = {s.name: s.metrics for s in summary.stages}
    assert stage["encode"]["accuracy/direction"] > 0.9
    heard = stage["evaluate"]
    by_source = [heard["accuracy_in/pitch"], heard["accuracy_in/direction"]]
    assert min(by_source) <= heard["accuracy"] <= max(by_source)
    assert heard["accuracy_heard"] > 0.8
    assert heard["accuracy_silenced"] < 0.65, "two answers each: near chance"
    assert heard["audio_reliance/low"] > 0.2
    steps = [row for row in read_metrics(tmp_path / "run") if row["stage"] == "rlvr"]
    assert max(row["logprob_gap/mean"] for row in steps) <= 1e-5, "no more than on text"
    *_, last = rollout_files(tmp_path / "run")
    clips = {name for row in parquet.read_table(last[2]).to_pylist() for name in row["clips"]}
    assert clips
    assert all((tmp_path / "run" / "clips" / name).exists() for name in clips)
    assert "data:audio/ogg" in (tmp_path / "run" / "report.html").read_text()
    counts = {node.kind: node.work for node in read_lineage(tmp_path / "run")}
    lines = [row for row in read_metrics(tmp_path / "run") if row["stage"] == "encode"]
    each = RECIPE["stages"][0]["encode"].get("clips_per_step", 32)
    assert counts["encode"] == {"clips": len(lines) * each, "steps": len(lines)}
    assert counts["sft"]["tokens"] > counts["sft"]["sequences"] > counts["sft"]["steps"] > 0


def test_an_encoder_that_trains_is_the_one_that_the_engines_have(ray_session: None, tmp_path: Path) -> None:
    _, sft, _, rlvr = RECIPE["stages"]
    learning = [
        f"rlvr.{key}" for key in ("algorithm=grpo", "objective.kl_coef=0.1", "optimizer.learning_rate=1e-3", "steps=3")
    ]
    few = ["model.train_encoder=true", "data.sounds.args.size=120", "sft.epochs=1"]
    run(load({**RECIPE, "stages": [sft, rlvr]}, [*few, *learning]), tmp_path / "run", say=lambda _: None)
    steps = [row for row in read_metrics(tmp_path / "run") if row["stage"] == "rlvr"]
    assert max(row["logprob_gap/mean"] for row in steps) <= 1e-5
    assert steps[0]["kl/ref"] == pytest.approx(0, abs=1e-6), "the reference hears as the policy did at first"
    assert abs(steps[-1]["kl/ref"]) > 1e-5
    stages = tmp_path / "run" / "stages"
    models = [load_file(stages / name / "model" / "model.safetensors") for name in ("01-sft", "02-rlvr")]
    moved = [name for name, weight in models[0].items() if not weight.equal(models[1][name])]
    assert any(name.startswith("encoder.") for name in moved)
