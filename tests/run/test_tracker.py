from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.run.files import DiskFull
from rl.run.tracker import Tracker, read_metrics, render_transcript, rollout_files
from rl.types import Message, Prompt, Scored

names = st.text(min_size=1).filter(lambda name: name not in ("stage", "step"))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
stages = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
records = st.lists(st.tuples(stages, st.integers(0, 10**9), st.dictionaries(names, numbers)), max_size=8)


@settings(max_examples=40, deadline=None)
@given(records)
def test_what_is_recorded_is_what_is_read(records: list[tuple[str, int, dict[str, float]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for stage, step, metrics in records:
            Tracker(Path(folder), stage).record(step, metrics)
        assert read_metrics(Path(folder)) == [{"stage": s, "step": n, **metrics} for s, n, metrics in records]


def test_a_record_is_strict_json(tmp_path: Path) -> None:
    """What is undefined is absent."""

    def refuse(text: str) -> float:
        raise AssertionError(text)

    undefined = {"reward": float("nan"), "grad_norm": float("inf"), "low": np.float32("-inf"), "loss": np.float64(2)}
    Tracker(tmp_path, "sft").record(1, undefined)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse) == {"stage": "sft", "step": 1, "loss": 2.0}


def test_a_run_without_steps_has_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_a_torn_last_line_is_left_out_and_then_overwritten(tmp_path: Path) -> None:
    Tracker(tmp_path, "sft").record(1, {"loss": 2.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "sft", "step": 2, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1]
    Tracker(tmp_path, "sft").record(2, {"loss": 1.5})
    assert [row["loss"] for row in read_metrics(tmp_path)] == [2.0, 1.5]


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": "sft", "step": 1}\n[1, 2]\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: holds a list, not a mapping; remove the line"):
        read_metrics(tmp_path)


def test_a_full_disk_is_one_line_and_leaves_no_torn_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"metrics\.jsonl: the disk is full; free some space"):
        Tracker(tmp_path, "sft").record(1, {"loss": 1.0})


def test_rewind_forgets_this_stage_after_the_step(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    other, tracker = Tracker(tmp_path, "rl-000009"), Tracker(tmp_path, "rl")
    other.record(9, {"loss": 1.0})
    other.record_rollouts(9, [sample()])
    for step in (1, 2, 3):
        tracker.record(step, {"reward": step / 10})
        tracker.record_rollouts(step, [sample()])
    (tmp_path / "rollouts" / ".rl-000004.parquet.1.tmp").write_text("left by a kill")
    Tracker(tmp_path, "rl").rewind(1)
    assert [(row["stage"], row["step"]) for row in read_metrics(tmp_path)] == [("rl-000009", 9), ("rl", 1)]
    assert [(stage, step) for stage, step, _ in rollout_files(tmp_path)] == [("rl", 1), ("rl-000009", 9)]
    assert len(list((tmp_path / "rollouts").iterdir())) == 2


def test_rollouts_are_columns(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    good = sample(parts={"accuracy": 1.0, "format": 0.5}, score=0.9)
    bad = sample(id="q", answer=None, error="deadline of 5 s passed", written=0)
    Tracker(tmp_path, "rlvr").record_rollouts(12, [good, bad])
    table = pq.read_table(tmp_path / "rollouts" / "rlvr-000012.parquet")
    assert table.to_pylist() == [
        {
            "id": "p", "source": "sums", "prompt": "2 + 2?", "text": "<think>\n2 and 2\n</think>\n4", "answer": "4",
            "sample": 0, "tokens": 3, "token_ids": [0, 1, 2, 3, 4], "score": 0.9, "error": None, "reason": "",
            "part/accuracy": 1.0, "part/format": 0.5, "version": 7, "finish_reason": "stop", "logprob_mean": -0.5,
        },
        {
            "id": "q", "source": "sums", "prompt": "2 + 2?", "text": "<think>\n2 and 2\n</think>\n4", "answer": None,
            "sample": 0, "tokens": 0, "token_ids": [0, 1], "score": None, "error": "deadline of 5 s passed", "reason": "",
            "part/accuracy": None, "part/format": None, "version": 7, "finish_reason": "stop", "logprob_mean": None,
        },
    ]  # fmt: skip


def test_no_rollouts_and_broken_text_can_be_stored(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    tracker = Tracker(tmp_path, "rlvr")
    tracker.record_rollouts(1, [])
    tracker.record_rollouts(2, [sample(text="half a pair: \ud83d")])
    tables = [pq.read_table(path) for _, _, path in rollout_files(tmp_path)]
    assert [table.num_rows for table in tables] == [0, 1]
    assert tables[1]["text"].to_pylist() == ["half a pair: ?"]


def test_a_kill_costs_at_most_the_line_being_written(tmp_path: Path) -> None:
    forever = (
        "import itertools, pathlib, sys\n"
        "from rl.run.tracker import Tracker\n"
        "tracker = Tracker(pathlib.Path(sys.argv[1]), 'sft')\n"
        "for step in itertools.count(1): tracker.record(step, {f'metric/{i}': step / 7 for i in range(300)})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", forever, str(tmp_path)])
    path = tmp_path / "metrics.jsonl"
    while not (path.exists() and path.stat().st_size > 200_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = [row["step"] for row in read_metrics(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))
    assert path.read_bytes().count(b"\n") == len(steps)


def test_several_turns_stand_under_their_roles() -> None:
    asked = (Message("system", "Be brief."), Message("user", "2 + 2?"))
    assert render_transcript(Prompt("p", asked)) == "[system]\nBe brief.\n\n[user]\n2 + 2?"
