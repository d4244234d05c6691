"""A whole run whose samples are written while the policy learns: killed, gone on with, and repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pyarrow import parquet
from test_runs import recipe

from rl.recipe import load
from rl.run.cuts import CutLog
from rl.run.metrics import is_timing
from rl.run.tracker import read_metrics
from rl.runner import run
from rl.runner.run_dir import replay_overrides

STEPS, GROUPS, LAG = 8, 4, 2


def untimed(run_dir: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not is_timing(name)} for row in read_metrics(run_dir)]


def start(file: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rl.cli", "run", str(file), "--out", str(out), *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def test_a_killed_run_loses_nothing_of_what_was_drawn_ahead_and_can_be_repeated(
    ray_session: None, tmp_path: Path
) -> None:
    evaluation = {"data": "words", "limit": 6, "samples": 2, "greedy": False, "max_sequence_tokens": 48}
    stage = {
        "steps": STEPS,
        "max_lag": LAG,
        "max_sequence_tokens": 160,
        "checkpoint_every": 2,
        "eval_every": 3,
        "eval": evaluation,
    }
    file, out = tmp_path / "tiny.yaml", tmp_path / "run"
    OmegaConf.save(OmegaConf.create(recipe([stage]).source), file)
    process = start(file, out)
    while sum(row["stage"] == "rlvr" for row in read_metrics(out) if out.exists()) < 5:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    state = json.loads((out / "stages/02-rlvr/checkpoints/step-000004/state.json").read_text())
    assert len(state["ahead"]) == LAG * GROUPS
    resumed = start(file, out, "--resume")
    said, _ = resumed.communicate()
    assert resumed.returncode == 0, said
    log = CutLog(out / "stages" / "02-rlvr")
    assert list(log.read()) == list(range(1, STEPS * GROUPS + 1)), "each group is learned from once, in draw order"
    rows = [row for row in untimed(out) if row["stage"] == "rlvr"]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert max(row["staleness/max"] for row in rows) == LAG
    assert all(row.get("logprob_gap/max", 0) <= 1e-4 for row in rows), "of the tokens of the learning version"
    # In this process, whose actors are others: the course decides everything.
    again, values = tmp_path / "again", load(file)
    run(load(file, replay_overrides(values, out)), again, say=lambda _: None)
    assert untimed(again) == untimed(out)
    assert CutLog(again / "stages" / "02-rlvr").read() == log.read()
    for rollouts in sorted((out / "rollouts").iterdir()):
        assert parquet.read_table(rollouts).equals(parquet.read_table(again / "rollouts" / rollouts.name))
