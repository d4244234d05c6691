"""The end of a run's records at its sinks."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl.run.sinks import registry
from rl.run.sinks.base import RunFacts
from rl.run.sinks.channels import Channels
from rl.run.summary import StageSummary, Summary, write_summary
from rl.runner.sinks import end_records

TRACKER = """
from rl.run.sinks.base import Sink

class Tracker(Sink):
    def record_table(self, name, rows):
        self.write(f"{name} {rows[0]['value']}")

    def record_artifact(self, path):
        self.write(path.name)

    def finish(self, status):
        self.write(status)

    def write(self, line):
        with open(self.run.folder / "told.txt", "a") as file:
            file.write(line + "\\n")
"""


@pytest.mark.parametrize("is_writable", [True, False])
def test_sinks_are_told_the_end_also_without_a_report(tmp_path: Path, is_writable: bool) -> None:
    (tmp_path / "mine.py").write_text(TRACKER)
    channels = Channels(
        RunFacts("words", tmp_path, {}, {}), {"Tracker": registry.factory("mine.py:Tracker", tmp_path)}, pytest.fail
    )
    stage = StageSummary("after", "evaluate", 1.0, {"accuracy": 0.5})
    write_summary(tmp_path, Summary("words", "done", 9.0, [stage]))
    said: list[str] = []
    if is_writable:
        end_records(channels, tmp_path, said.append)
    else:
        (tmp_path / "report.html").mkdir()
        with pytest.raises(IsADirectoryError):
            end_records(channels, tmp_path, said.append)
    assert (tmp_path / "told.txt").read_text() == "evaluations 0.5\nreport.html\ndone\n"
    assert said == []
