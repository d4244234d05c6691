from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rl.run.summary import (
    Failure,
    StageSummary,
    Summary,
    describe_environment,
    read_summary,
    write_summary,
)


def test_a_summary_reads_as_it_was_written(tmp_path: Path) -> None:
    summary = Summary("quickstart", "done", 12.5, (StageSummary("sft", "sft", 3.0, {"loss": 0.5}),), {"cpus": 2})
    write_summary(tmp_path, summary)
    assert read_summary(tmp_path) == summary


def test_a_summary_keeps_why_a_run_failed(tmp_path: Path) -> None:
    failure = Failure("the disk is full", "sft", 3)
    assert str(failure) == "failed in stage 'sft', step 3: the disk is full"
    assert str(Failure("no engine", "before")) == "failed in stage 'before': no engine"
    assert str(Failure("no engine")) == "failed before the first stage: no engine"
    assert str(Failure("sft 'sft', step 3: a loss is NaN", "sft", 3)) == "failed: sft 'sft', step 3: a loss is NaN"
    write_summary(tmp_path, Summary("quickstart", "failed", 1.0, failure=failure))
    assert read_summary(tmp_path) == Summary("quickstart", "failed", 1.0, failure=failure)


def test_a_run_killed_before_its_first_summary_has_none(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    assert read_summary(tmp_path) is None


def test_what_is_no_run_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r": holds no run; give the directory that `rl run` printed"):
        read_summary(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere: no such directory; give"):
        read_summary(tmp_path / "nowhere")
    (tmp_path / "summary.json").write_text('{"name": "x"}')
    with pytest.raises(ValueError, match=r"summary\.json: has no status; delete it"):
        read_summary(tmp_path)


def test_the_environment_names_versions_and_no_host() -> None:
    found = describe_environment()
    assert {"torch", "ray", "transformers"} <= found["packages"].keys()
    assert found["cpus"] >= 1
    assert socket.gethostname() not in str(found)
