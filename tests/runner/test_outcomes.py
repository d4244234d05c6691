"""The record of a finished stage."""

from __future__ import annotations

from pathlib import Path

from rl.runner.outcomes import read_outcome, write_outcome
from rl.stages.context import Outcome


def test_a_metric_whose_name_looks_like_a_secret_stays_a_number(tmp_path: Path) -> None:
    outcome = Outcome(
        {"part/secret": 0.5, "accuracy_in/cookies": 0.25}, {"model": str(tmp_path / "model")}, {"token": 7}
    )
    write_outcome(tmp_path / "done.json", "evaluate", outcome, [], tmp_path, 3.0)
    assert read_outcome(tmp_path / "done.json", tmp_path) == (outcome, 3.0)
