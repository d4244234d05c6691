"""Whole runs whose samples are written while the policy learns, also in turns: killed, gone on with, and repeated."""

from __future__ import annotations

import json
import os
import shutil
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
GAME = """
from rl.types import Message, Reply


class Game:
    def __init__(self):
        self.turns = 0

    def step(self, prompt, rollout):
        self.turns += 1
        if self.turns == 4:
            return None
        if rollout.text.endswith("e"):
            return Reply((Message("assistant", f"[{self.turns}]"),), reward=0.01, note="inside")
        return Reply((Message("user", f"{self.turns}?"),), note="asked")
"""
ENVIRONMENT = {"step": "game.py:Game", "stop": ["e"], "max_turns": 6}


def untimed(run_dir: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not is_timing(name)} for row in read_metrics(run_dir)]


def start(file: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rl.cli", "run", str(file), "--out", str(out), *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def assert_turns(rows: list[dict[str, Any]]) -> None:
    assert all(row["environment/replies"] > 0 and row["environment/errors"] == 0 for row in rows)
    assert all(row.get("logprob_gap/max", 0) <= 1e-4 for row in rows), "of the tokens of the learning version"


def with_game(stage: dict[str, Any], folder: Path, **model: Any) -> Path:
    """Return the file of a recipe whose policy is answered by the game."""
    (folder / "game.py").write_text(GAME)
    source = recipe([stage]).source
    source["stages"][-1]["rlvr"]["environment"] = ENVIRONMENT
    source["model"] |= model
    OmegaConf.save(OmegaConf.create(source), folder / "tiny.yaml")
    return folder / "tiny.yaml"


def assert_same_rollouts(one: Path, other: Path) -> None:
    for rollouts in sorted((one / "rollouts").iterdir()):
        assert parquet.read_table(rollouts).equals(parquet.read_table(other / "rollouts" / rollouts.name))


def test_a_killed_run_loses_nothing_of_what_was_drawn_ahead_and_can_be_repeated(
    ray_session: None, tmp_path: Path
) -> None:
    """Of samples in turns too: an environment answers the policy while it learns."""
    evaluation = {"data": "words", "limit": 6, "samples": 2, "greedy": False, "max_sequence_tokens": 48}
    stage = {
        "steps": STEPS,
        "max_lag": LAG,
        "max_sequence_tokens": 160,
        "checkpoint_every": 2,
        "eval_every": 3,
        "eval": evaluation,
        "objective": {"reward_at": "turns"},
    }
    file, out = with_game(stage, tmp_path), tmp_path / "run"
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
    assert_turns(rows)
    # In this process, whose actors are others: the course decides everything.
    again, values = tmp_path / "again", load(file)
    run(load(file, replay_overrides(values, out)), again, say=lambda _: None)
    assert untimed(again) == untimed(out)
    assert CutLog(again / "stages" / "02-rlvr").read() == log.read()
    assert_same_rollouts(out, again)


def test_an_adapter_learns_from_turns(ray_session: None, tmp_path: Path) -> None:
    """A run that goes on from a checkpoint writes what it would have written."""
    stage = {"steps": 4, "max_sequence_tokens": 128, "checkpoint_every": 2, "algorithm": "grpo"}
    stage["objective"] = {"reward_at": "turns"}
    file, out, again = with_game(stage, tmp_path, lora={"rank": 2}), tmp_path / "run", tmp_path / "again"
    run(load(file), out, say=lambda _: None)
    shutil.copytree(out, again, symlinks=True)
    for made in ("done.json", "model", "checkpoints/step-000004"):
        path = again / "stages/02-rlvr" / made
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(load(file), again, resume=True, say=lambda _: None)
    assert untimed(again) == untimed(out)
    assert_same_rollouts(out, again)
    assert_turns([row for row in untimed(out) if row["stage"] == "rlvr"])
