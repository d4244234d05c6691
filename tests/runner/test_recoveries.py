"""Which losses a run recovers from, how often, and what it says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rl.recipe import load
from rl.report.tables import show_data
from rl.run.checkpoint import Checkpoints
from rl.run.summary import Recovery, Summary, read_summary, write_summary
from rl.run.tracker import Tracker, read_metrics, read_warnings
from rl.runner.recoveries import Recoveries
from rl.workers.loss import Loss

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "model": {"build": {}},
    "data": {"words": {"source": "reasoning_gym"}},
    "reward": {"parts": [{"verifier": "text"}]},
    "stages": [{"rlvr": {"data": "words"}}],
}
LOST = Loss("the critic's trainer (pid 7) has died: it crashed with SIGSEGV")


@pytest.fixture
def stage() -> Any:
    return load(RECIPE).stages[0]


def test_losses_in_a_row_are_counted_and_a_checkpoint_starts_anew(tmp_path: Path, stage: Any) -> None:
    lines: list[str] = []
    recoveries, checkpoints = Recoveries(2, tmp_path, (), lines.append), Checkpoints(tmp_path / "checkpoints")
    for step, allowed in ((None, True), (1, True), (1, False)):  # before the first checkpoint
        assert recoveries.begin(LOST, stage, step, tmp_path) == allowed
        recoveries.end()
    assert recoveries.explain(LOST, stage, 1) == (
        f"rlvr 'rlvr', step 1: {LOST.text}; 2 new clusters in a row came no further; go on with --resume"
    )
    for step in range(2, 8):
        checkpoints.save(step, {}, lambda folder: (folder / "weights").touch())
        assert recoveries.begin(LOST, stage, step + 1, tmp_path), "any number of losses, each with a step gained"
        assert recoveries.end() > 0
    assert recoveries.end() == 0, "none is open"
    assert lines[-2] == f"warning: rlvr 'rlvr', step 8: {LOST.text}; building the cluster anew, retry 1 of 2"
    assert lines[-1] == "the cluster was built anew in 0 s, retry 1 of 2; on from step 7"
    assert len(read_warnings(tmp_path)) == len(recoveries.all) == 8
    assert read_warnings(tmp_path)[-1] == f"rlvr 'rlvr', step 8: {LOST.text}; {lines[-1]}"


@pytest.mark.parametrize(("loss", "retries"), [(Loss("memory ran out", is_curable=False), 9), (LOST, 0)])
def test_what_would_only_repeat_is_not_tried(tmp_path: Path, stage: Any, loss: Loss, retries: int) -> None:
    recoveries = Recoveries(retries, tmp_path, (), print)
    assert not recoveries.begin(loss, stage, 3, tmp_path)
    assert recoveries.explain(loss, stage, 3) == f"rlvr 'rlvr', step 3: {loss.text}; go on with --resume"
    assert recoveries.end() == 0


def test_a_loss_before_the_first_stage_has_no_place(tmp_path: Path) -> None:
    lines: list[str] = []
    recoveries = Recoveries(1, tmp_path, (), lines.append)
    assert recoveries.begin(LOST, None, None, None)
    recoveries.end()
    assert lines[-1].endswith("retry 1 of 1; the run begins")


def test_summary_metrics_and_json_hold_what_it_cost(tmp_path: Path) -> None:
    recovery = Recovery("Ray's GCS (pid 9) has died", "rlvr", 5, 4, 12.5)
    write_summary(tmp_path, Summary("tiny", "running", 1.0, recoveries=[recovery]))
    summary = read_summary(tmp_path)
    assert summary is not None
    assert list(summary.recoveries) == [recovery]
    assert json.loads(json.dumps(show_data(tmp_path)))["recoveries"][0]["seconds"] == 12.5
    tracker = Tracker(tmp_path, "rlvr")
    tracker.recovery_s = 12.5
    for step in (5, 6):
        tracker.record(step, {"loss": 1.0})
    assert [row.get("time/recovery") for row in read_metrics(tmp_path)] == [12.5, None]
