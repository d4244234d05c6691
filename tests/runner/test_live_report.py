"""The report of a run that goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rl.run.summary import Summary, write_summary
from rl.run.tracker import Tracker
from rl.runner.live_report import LiveReport


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_report_follows_the_run(tmp_path: Path) -> None:
    write_summary(tmp_path, Summary("words", "running", 1.0))
    report, tracker = tmp_path / "report.html", Tracker(tmp_path, "rlvr")
    with LiveReport(tmp_path, every_s=0.05):
        wait_until(report.exists)
        assert 'data-status="running"' in report.read_text()
        tracker.record(1, {"reward": 0.5})
        wait_until(lambda: '"steps":[1]' in report.read_text())
        tracker.record(2, {"reward": 0.75})
        wait_until(lambda: '"steps":[1,2]' in report.read_text())
    age = report.stat().st_mtime_ns
    tracker.record(3, {"reward": 1.0})
    time.sleep(0.2)
    assert report.stat().st_mtime_ns == age, "nothing is written after the run"
    assert not list(tmp_path.glob(".*.tmp"))


def test_nothing_is_written_while_nothing_happens(tmp_path: Path) -> None:
    write_summary(tmp_path, Summary("words", "running", 1.0))
    with LiveReport(tmp_path, every_s=0.01):
        wait_until((tmp_path / "report.html").exists)
        age = (tmp_path / "report.html").stat().st_mtime_ns
        time.sleep(0.3)
        assert (tmp_path / "report.html").stat().st_mtime_ns == age


def test_an_error_of_the_page_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("damaged\n")
    with LiveReport(tmp_path, every_s=0.01) as live:
        time.sleep(0.1)
        assert live.run_dir == tmp_path
    with pytest.raises(ZeroDivisionError), LiveReport(tmp_path):
        raise ZeroDivisionError
