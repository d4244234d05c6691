"""Whole recipes on the real engines, as small as they come: every algorithm, ZeRO stages and ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pyarrow import parquet

from rl.recipe import load
from rl.run.files import DiskFull
from rl.run.tracker import read_metrics, rollout_file
from rl.runner import run

TINY = """
name: tiny
model: {build: {hidden_size: 64, heads: 2, layers: 1}}
data:
  words: {source: reasoning_gym, args: {dataset: spell_backward, size: 60, config: {max_word_len: 4}}}
reward:
  parts:
    - {verifier: text, weight: 0.8}
    - {verifier: format, name: format, weight: 0.2}
engines: {kv_cache_mb: 64}
rlvr_defaults: &rlvr {data: words, steps: 2, prompts_per_step: 4, samples_per_prompt: 4, max_sequence_tokens: 48}
stages:
  - sft: {data: words, epochs: 4, sequences_per_step: 8, max_sequence_tokens: 48, optimizer: {learning_rate: 3e-3}}
"""


def recipe(stages: list[dict[str, Any]], *overrides: str):
    values: Any = OmegaConf.to_container(OmegaConf.create(TINY))
    shared = values.pop("rlvr_defaults")
    optimizer = {"optimizer": {"learning_rate": 1e-3}}
    values["stages"] += [{"rlvr": {**shared, **optimizer, **stage}} for stage in stages]
    return load(values, overrides)


def test_every_algorithm_runs(ray_session: None, tmp_path: Path) -> None:
    overlong: dict[str, Any] = {"objective": {"overlong_buffer": 8, "filter_zero_variance": True}}
    names = ["ppo", "grpo", "rloo", "reinforce++", "reinforce++-baseline", "dr_grpo", "dapo", "gspo", "cispo", "icepop"]
    # So small a model spells no word right: without a part named accuracy dynamic sampling compares the score.
    parts = [
        {"verifier": "text", "name": "spelt", "weight": 0.8},
        {"verifier": "format", "name": "format", "weight": 0.2},
    ]
    overlong |= {"reward": {"parts": parts}}
    extra = {"dapo": overlong, "ppo": {"critic_warmup_steps": 1}, "icepop": {"objective": {"mask_truncated": True}}}
    stages = [{"name": n.replace("+", "p"), "algorithm": n, **extra.get(n, {})} for n in names]
    stages += [
        {"name": "penalised", "algorithm": "grpo", "objective": {"kl_coef": 0.1, "entropy_coef": 0.01}},
        {"name": "minibatches", "epochs": 2, "minibatches": 2, "critic_warmup_steps": 1, "temperature": 0.8},
    ]
    summary = run(recipe(stages), tmp_path / "run", say=lambda _: None)
    assert summary.status == "done"
    rows = [row for row in read_metrics(tmp_path / "run") if row["stage"] not in ("sft",)]
    assert {row["stage"] for row in rows} == {stage["name"] for stage in stages}
    assert max(row["logprob_gap/mean"] for row in rows) <= 1e-5
    assert min(row["logprob_gap/mean"] for row in rows) > 0, "what was not measured is not 0"
    resting = [(row["stage"], row["step"]) for row in rows if "learning_rate" not in row]
    assert resting == [("ppo", 1), ("minibatches", 1)]
    assert all(row["reward"] == row["reward"] and row["verifier_errors"] == 0 for row in rows)
    moved = {row["stage"]: row["grad_norm/policy"] for row in rows if "grad_norm/policy" in row}
    assert moved.keys() == {stage["name"] for stage in stages}
    assert "kl/ref" in next(row for row in rows if row["stage"] == "penalised")
    for row in (row for row in rows if row["stage"] == "dapo"):  # all that was sampled is measured and recorded
        groups = parquet.read_metadata(rollout_file(tmp_path / "run", "dapo", row["step"])).num_rows // 4
        assert row["zero_variance_groups"] == pytest.approx(row["dropped_groups"] / groups)
        assert row["group_share"] == min(1.0, (groups - row["dropped_groups"]) / 4)
    for row in (row for row in rows if row["stage"] == "icepop"):
        assert row["importance_masked"] == row["importance_masked/sequences"] == 0, "engine and trainer agree"
        assert row["truncated_masked/sequences"] == pytest.approx(row["truncation_rate"])
    assert (tmp_path / "run" / "model" / "config.json").exists()
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    for file in (tmp_path / "run" / "rollouts").glob("*.parquet"):
        told = parquet.read_table(file, columns=["id", "sample"]).to_pylist()
        assert len({(row["id"], row["sample"]) for row in told}) == len(told), f"{file.name} has a sample twice"


def test_a_source_too_small_for_its_share_of_a_step(ray_session: None, tmp_path: Path) -> None:
    source = recipe([{"algorithm": "grpo"}]).source
    longer = {"dataset": "spell_backward", "size": 10, "config": {"min_word_len": 5, "max_word_len": 6}}
    source["data"] = {**source["data"], "few": {"source": "reasoning_gym", "args": longer}}
    mixed = {"data": {"words": 0.5, "few": 0.5}, "prompts_per_step": 18, "max_sequence_tokens": 64}
    source["stages"] = [{"rlvr": {**source["stages"][-1]["rlvr"], **mixed}}]
    with pytest.raises(ValueError, match=r"^rlvr 'rlvr': 6 prompts are left of 'few', and a step takes 9 of them"):
        run(load(source), tmp_path / "run", say=lambda _: None)


def test_a_run_sharded_over_two_ranks(ray_session: None, tmp_path: Path) -> None:
    """One key each: trainer.zero_stage, trainer.ranks. Stage 1 has a run in test_learns.py, stage 3 in test_gsm8k.py."""
    summary = run(recipe([{}], "trainer.zero_stage=2", "trainer.ranks=2"), tmp_path / "run", say=lambda _: None)
    assert summary.status == "done"
    last = read_metrics(tmp_path / "run")[-1]
    assert last["logprob_gap/mean"] <= 1e-5
    assert last["grad_norm/policy"] > 0
    assert last["grad_norm/critic"] > 0


def test_a_disk_too_small_for_the_first_model_is_one_line(small_disk: Path) -> None:
    out = small_disk / "run"
    with pytest.raises(
        DiskFull, match=rf"^{out / 'initial'}: the disk is full; free some space, then go on with --res"
    ):
        run(recipe([{}]), out, say=lambda _: None)
    assert json.loads((out / "summary.json").read_text())["status"] == "failed"


def test_an_engine_that_does_not_start_says_why(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^engines.vllm.kv_cache: vLLM.s EngineArgs have no such option"):
        run(
            load(
                {**recipe([]).source, "stages": [{"evaluate": {"data": "words", "limit": 2}}]},
                ["engines.vllm.kv_cache=1"],
            ),
            tmp_path / "run",
            say=lambda _: None,
        )
