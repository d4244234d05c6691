"""Answers that a verifier judged wrongly once, each with the right verdict, by kind."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from rewards.contract import Case

ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "reported_cases.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["kind"])
def test_a_reported_answer_is_judged_right(row: dict[str, Any]):
    rollout = Case(row["pred"], row["gold"], fields=row.get("context", {})).rollout()
    verdict = importlib.import_module(f"rewards.verifiers.{row['cls']}").verify(rollout.prompt, rollout)
    assert (verdict.error, verdict.score) == (None, float(row["equal"])), verdict.reason
