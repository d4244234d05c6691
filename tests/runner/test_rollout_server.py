"""Sessions that end without a run: what their clients say of them, and the files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from samples import scored_sample

from rl.runner.rollout_server import NO_REWARD, SessionFiles, read_end
from rl.types import Verdict
from rollouts.harness.settings import AskError


@pytest.mark.parametrize(
    ("values", "verdict", "error"),
    [
        ({}, None, None),
        ({"reward": 1}, Verdict(1.0, {"accuracy": 1.0}), None),
        ({"reward": 0.5, "parts": {"style": 1}}, Verdict(0.5, {"style": 1.0, "accuracy": 0.5}), None),
        ({"error": "it broke"}, None, "harness: it broke"),
        ({"reward": 1.0, "error": "it broke"}, None, "harness: it broke"),
    ],
)
def test_the_end_of_a_session(values: dict[str, Any], verdict: Verdict | None, error: str | None) -> None:
    assert read_end(values) == (verdict, error)


@pytest.mark.parametrize(
    "values",
    [
        {"reward": "1"},
        {"reward": True},
        {"reward": float("nan")},
        {"reward": 1.0, "parts": [1]},
        {"reward": 1.0, "parts": {"a": "b"}},
        {"reward": 1.0, "reason": 3},
        {"error": {}},
        {"score": 1.0},
    ],
)
def test_a_wrong_end_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(AskError):
        read_end(values)


def test_each_session_has_a_file_numbered_on(tmp_path: Path) -> None:
    sample = scored_sample().rollout
    files = SessionFiles(tmp_path)
    first = files.write(sample)
    second = SessionFiles(tmp_path).write(sample)
    assert [first.name, second.name] == ["sessions-000001.parquet", "sessions-000002.parquet"]
    (row,) = pyarrow.parquet.read_table(first).to_pylist()
    assert (row["error"], row["score"], row["id"]) == (NO_REWARD, None, sample.prompt.id)
