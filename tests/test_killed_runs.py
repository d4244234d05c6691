"""A whole run that is told to end, killed and prolonged: what it goes on to is what an undisturbed one would have been."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf
from pyarrow import parquet
from test_runs import recipe

from rl.recipe import load
from rl.run.metrics import is_timing
from rl.run.provenance import read_provenance
from rl.run.tracker import read_metrics
from rl.runner import run

KILLED_AT, LONGER = 7, 9
"""Steps of the run that is killed, and of the one that it is prolonged to."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve prompts at eight a step, so epochs end within steps."""
    file = tmp_path_factory.mktemp("killed") / "tiny.yaml"
    stages = [{"steps": KILLED_AT, "limit": 12, "prompts_per_step": 8, "checkpoint_every": 2, "keep": 3}]
    source = recipe(stages).source
    source["stages"].append({"evaluate": {"name": "after", "data": "words", "split": None, "limit": 2, "samples": 1}})
    OmegaConf.save(OmegaConf.create(source), file)
    return file


@pytest.fixture(scope="module")
def whole(ray_session: None, file: Path) -> Path:
    """The run of all the steps, left alone."""
    run(load(file, [f"rlvr.steps={LONGER}"]), file.parent / "whole", say=lambda _: None)
    return file.parent / "whole"


@pytest.fixture(scope="module")
def ended(file: Path) -> Path:
    """The same with fewer steps, told to end (SIGTERM): it leaves nothing, the processes of Ray, engines, trainers and verifiers
    too."""
    out = file.parent / "killed"
    process = _rl(file, out, stderr=subprocess.PIPE)
    while _last_step(out) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    print(f"ended after {time.monotonic() - began:.1f} s, {len(below)} processes below it")
    assert process.returncode == 143, stderr
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("interrupted; go on with: rl run"), stderr
    assert stderr.rstrip().endswith(f"--resume --out {out}")
    assert not re.search(r"Traceback|C\+\+|\*\*\* SIG", stdout)
    assert json.loads((out / "summary.json").read_text())["status"] == "interrupted"
    assert len(below) > 5
    assert psutil.wait_procs(below, timeout=5)[1] == []
    return out


@pytest.fixture(scope="module")
def killed(file: Path, ended: Path) -> Path:
    """It goes on; SIGKILL in the middle, the newest checkpoint damaged; it goes on to its end."""
    process = _rl(file, ended, "--resume")
    while _last_step(ended) < 5:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    newest = max((ended / "stages" / "02-rlvr" / "checkpoints").glob("step-*"))
    (newest / "policy" / "model.safetensors").write_bytes(b"torn")
    resumed = _rl(file, ended, "--resume")
    said, _ = resumed.communicate()
    assert resumed.returncode == 0, said
    assert f"{newest.name}: policy/model.safetensors is damaged" in said.replace("\n", "")
    return ended


@pytest.mark.timeout(900)
def test_a_run_that_is_told_to_end_or_is_killed_resumes_exactly(whole: Path, killed: Path) -> None:
    """The rest of the run is what it would have been."""
    learned, expected = (
        [
            row
            for row in _untimed(folder)
            if row["stage"] == "sft" or (row["stage"] == "rlvr" and row["step"] <= KILLED_AT)
        ]
        for folder in (killed, whole)
    )
    assert learned == expected
    assert _assert_same_rollouts(killed, whole) == KILLED_AT
    counts = _counts(killed)["rlvr"]
    assert (counts["prompts"], counts["rollouts"], counts["steps"]) == (56, 224, 7), "of the whole stage"
    stage = killed / "stages" / "02-rlvr"
    last, final = (read_provenance(stage / name) or {} for name in ("checkpoints/step-000007", "model"))
    assert last == {**final, "artifact": "step-000007", "kind": "checkpoint"}
    earlier = read_provenance(stage / "checkpoints/step-000006") or {}
    assert (earlier["counts"]["prompts"], earlier["counts"]["steps"]) == (48, 6)
    summary = json.loads((killed / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["seconds"] >= sum(stage["seconds"] for stage in summary["stages"]), "those before the kill count"


@pytest.mark.timeout(900)
def test_a_run_that_is_prolonged_is_what_a_longer_one_would_have_been(whole: Path, killed: Path, file: Path) -> None:
    """Whatever became of it before: its end has not been as it was when it was killed."""
    out = shutil.copytree(killed, file.parent / "prolonged", symlinks=True)
    said: list[str] = []
    run(load(file, [f"rlvr.steps={LONGER}"]), out, resume=True, say=said.append)
    assert said[:2] == ["rlvr: goes on from step 7, steps 7 → 9", "run again, since what is before them changes: after"]
    metrics, expected = (
        [{k: v for k, v in stage["metrics"].items() if not is_timing(k)} for stage in summary["stages"]]
        for summary in (json.loads((folder / "summary.json").read_text()) for folder in (out, whole))
    )
    assert metrics == expected
    assert _untimed(out) == _untimed(whole)
    assert _assert_same_rollouts(out, whole) == LONGER
    # sft of 4 × 48 spellings in eights; rlvr of 9 steps of 8 prompts, 4 samples each
    counts = _counts(whole)
    assert counts == _counts(out), "of the whole stage, whenever it was resumed"
    assert (counts["sft"]["sequences"], counts["sft"]["steps"]) == (192, 24)
    rows = [
        parquet.read_table(file, columns=["tokens"])["tokens"].to_pylist()
        for file in (whole / "rollouts").glob("rlvr-*")
    ]
    assert counts["rlvr"] == {"prompts": 72, "rollouts": 288, "tokens": sum(map(sum, rows)), "steps": 9}


def _assert_same_rollouts(one: Path, other: Path) -> int:
    """Compare the recorded samples of the steps in `one` with those in `other`; return how many steps there are."""
    files = sorted((one / "rollouts").glob("rlvr-*"))
    for file in files:
        assert parquet.read_table(file).equals(parquet.read_table(other / "rollouts" / file.name)), file.name
    return len(files)


def _last_step(run_dir: Path) -> int:
    steps = [row["step"] for row in read_metrics(run_dir) if row["stage"] == "rlvr"] if run_dir.exists() else []
    return max(steps, default=0)


def _rl(file: Path, out: Path, *flags: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rl.cli", "run", str(file), "--out", str(out), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True)


def _counts(run_dir: Path) -> dict[str, dict[str, int]]:
    done = {path.parent.name: json.loads(path.read_text()) for path in (run_dir / "stages").glob("*/done.json")}
    return {name.partition("-")[2]: values["counts"] for name, values in done.items()}


def _untimed(run_dir: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not is_timing(name)} for row in read_metrics(run_dir)]
