"""Whole recipes on the real engines, as small as they come: every algorithm, ZeRO stages and ranks, a killed run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf
from pyarrow import parquet

from rl.recipe import load
from rl.run.files import DiskFull
from rl.run.metrics import is_timing
from rl.run.provenance import read_provenance
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
    # Killed between its last checkpoint and its end, a stage still tells its numbers.
    (tmp_path / "run" / "stages" / "13-minibatches" / "done.json").unlink()
    again = run(recipe(stages), tmp_path / "run", resume=True, say=lambda _: None)
    assert again.stages[-1].metrics == summary.stages[-1].metrics


def test_a_run_that_is_prolonged_is_what_a_longer_one_would_have_been(ray_session: None, tmp_path: Path) -> None:
    stages = [{"algorithm": "grpo"}]
    source = recipe(stages).source
    source["stages"].append({"evaluate": {"name": "after", "data": "words", "split": None, "limit": 2, "samples": 1}})
    run(load(source), tmp_path / "run", say=lambda _: None)
    longer = load(source, ["rlvr.steps=4"])
    said: list[str] = []
    prolonged = run(longer, tmp_path / "run", resume=True, say=said.append)
    assert said[:2] == ["rlvr: goes on from step 2, steps 2 → 4", "run again, since what is before them changes: after"]
    whole = run(longer, tmp_path / "whole", say=lambda _: None)
    of_both = [
        [{name: value for name, value in stage.metrics.items() if not is_timing(name)} for stage in summary.stages]
        for summary in (prolonged, whole)
    ]
    assert of_both[0] == of_both[1]
    rows, whole_rows = (
        [{k: v for k, v in row.items() if not is_timing(k)} for row in read_metrics(tmp_path / name)]
        for name in ("run", "whole")
    )
    assert rows == whole_rows


def test_a_source_too_small_for_its_share_of_a_step(ray_session: None, tmp_path: Path) -> None:
    source = recipe([{}]).source
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


def test_a_killed_run_resumes_exactly(ray_session: None, tmp_path: Path) -> None:
    """SIGKILL in the middle, the newest checkpoint damaged: the rest of the run is what it would have been. Twelve
    prompts at eight a step, so epochs end within steps."""
    stages = [{"steps": 7, "limit": 12, "prompts_per_step": 8, "checkpoint_every": 2, "keep": 3}]
    file = tmp_path / "tiny.yaml"
    OmegaConf.save(OmegaConf.create(recipe(stages).source), file)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(load(file), whole, say=lambda _: None)
    process = _rl(file, killed)
    while sum(row["stage"] == "rlvr" for row in read_metrics(killed) if killed.exists()) < 5:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    newest = max((killed / "stages" / "02-rlvr" / "checkpoints").glob("step-*"))
    (newest / "policy" / "model.safetensors").write_bytes(b"torn")
    resumed = _rl(file, killed, "--resume")
    said, _ = resumed.communicate()
    assert resumed.returncode == 0
    assert f"{newest.name}: policy/model.safetensors is damaged" in said.replace("\n", "")
    assert _untimed(killed) == _untimed(whole)
    for rollouts in sorted((whole / "rollouts").iterdir()):
        assert parquet.read_table(rollouts).equals(parquet.read_table(killed / "rollouts" / rollouts.name))
    # sft of 4 × 48 spellings in eights; rlvr of 7 steps of 8 prompts, 4 samples each
    counts = _counts(whole)
    assert counts == _counts(killed), "of the whole stage, whenever it was resumed"
    assert (counts["sft"]["sequences"], counts["sft"]["steps"]) == (192, 24)
    rows = [
        parquet.read_table(file, columns=["tokens"])["tokens"].to_pylist() for file in (whole / "rollouts").iterdir()
    ]
    told = {"prompts": 56, "rollouts": 224, "tokens": sum(map(sum, rows)), "steps": 7}
    assert counts["rlvr"] == told
    final = read_provenance(whole / "stages" / "02-rlvr" / "model") or {}
    for run_dir in (whole, killed):
        last = read_provenance(run_dir / "stages" / "02-rlvr" / "checkpoints" / "step-000007") or {}
        assert last == {**final, "artifact": "step-000007", "kind": "checkpoint"}
        earlier = read_provenance(run_dir / "stages" / "02-rlvr" / "checkpoints" / "step-000006") or {}
        assert (earlier["counts"]["prompts"], earlier["counts"]["steps"]) == (48, 6)
    summary = json.loads((killed / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["seconds"] >= sum(stage["seconds"] for stage in summary["stages"]), "those before the kill count"


def test_a_run_that_is_told_to_end_leaves_nothing_and_goes_on(tmp_path: Path) -> None:
    """SIGTERM, then Ctrl-C to the run that goes on from there: the processes of Ray, engines, trainers and verifiers too."""
    file, out = tmp_path / "tiny.yaml", tmp_path / "run"
    stages = [{"steps": 1000, "limit": 12, "prompts_per_step": 8, "checkpoint_every": 1}]
    OmegaConf.save(OmegaConf.create(recipe(stages).source), file)
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        done = _last_step(out)
        process = _rl(file, out, *(["--resume"] if done else []), stderr=subprocess.PIPE)
        while _last_step(out) < done + 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        below = psutil.Process(process.pid).children(recursive=True)
        began = time.monotonic()
        process.send_signal(number)
        stdout, stderr = process.communicate()
        print(f"{number.name}: ended after {time.monotonic() - began:.1f} s, {len(below)} processes below it")
        assert process.returncode == code, stderr
        assert stderr.count("\n") == 1, stderr
        assert stderr.startswith("interrupted; go on with: rl run"), stderr
        assert stderr.rstrip().endswith(f"--resume --out {out}")
        assert not re.search(r"Traceback|C\+\+|\*\*\* SIG", stdout)
        assert json.loads((out / "summary.json").read_text())["status"] == "interrupted"
        assert len(below) > 5
        assert psutil.wait_procs(below, timeout=5)[1] == []


def _last_step(run_dir: Path) -> int:
    steps = [row["step"] for row in read_metrics(run_dir) if row["stage"] == "rlvr"] if run_dir.exists() else []
    return max(steps, default=0)


def _rl(file: Path, out: Path, *flags: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rl.cli", "run", str(file), "--out", str(out), *flags]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job starts deaf to it
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True, preexec_fn=heard
    )


def _counts(run_dir: Path) -> dict[str, dict[str, int]]:
    done = {path.parent.name: json.loads(path.read_text()) for path in (run_dir / "stages").glob("*/done.json")}
    return {name.partition("-")[2]: values["counts"] for name, values in done.items()}


def _untimed(run_dir: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not is_timing(name)} for row in read_metrics(run_dir)]
