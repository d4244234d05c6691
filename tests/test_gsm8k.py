"""GSM8K's recipe from end to end on its real questions, with a tiny random model: the path, not the accuracy."""

from __future__ import annotations

from pathlib import Path

from real_data import real

from rl.recipe import load
from rl.run.tracker import read_metrics
from rl.runner import run

TINY = [
    *("model.path=null", "model.build={hidden_size: 64, layers: 1, heads: 2}", "model.dtype=float32"),
    "engines.kv_cache_mb=64",
    "model.expect=null",
    *(f"{stage}.{key}" for stage in ("before", "warm", "after") for key in ("limit=4", "samples=1")),
    *("before.greedy=false", "warm.greedy=false"),
    *("sft.limit=16", "sft.sequences_per_step=8", "curate.limit=8", "curate.samples=2", "curate.keep=[0,2]"),
    *("rlvr.limit=8", "rlvr.steps=2", "rlvr.prompts_per_step=2", "rlvr.samples_per_prompt=2"),
    "sft.max_sequence_tokens=2048",
    *(f"{stage}.max_sequence_tokens=512" for stage in ("before", "warm", "curate", "rlvr", "after")),
]


@real
def test_the_recipe_runs_on_its_questions(ray_session: None, tmp_path: Path) -> None:
    summary = run(load("gsm8k", TINY), tmp_path / "run", say=lambda _: None)
    assert summary.status == "done"
    of = {stage.name: stage.metrics for stage in summary.stages}
    assert list(of) == ["before", "sft", "warm", "curate", "rlvr", "after"]
    assert of["after"]["prompts"] == 4
    assert of["after"]["verifier_errors"] == 0, "what says nothing is wrong, not an error"
    steps = [row for row in read_metrics(tmp_path / "run") if row["stage"] == "rlvr"]
    assert len(steps) == 2
    assert all(0 <= row["part/accuracy"] <= 1 and row["logprob_gap/mean"] <= 1e-5 for row in steps)
