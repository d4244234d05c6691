"""`scripts/benchmarks/sums.py` judges by integers alone, and parts sums whose mirror is trained on from others."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_answers_are_counted_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    sums = importlib.import_module("sums")
    trained = {(45, "+", 17), (17, "-", 45)}
    answers = [
        ("17+45", "62", 1.0),
        ("17+45", "17+45=62", 0.0),
        ("17+46", "63.", 0.0),  # right, says this count, and the reward does not
        ("45-17", "28", 1.0),
        ("17-45", "-28", 1.0),
        ("17-45", "28", 1.0),  # wrong, whatever the reward says
    ]
    rows = [{"prompt": f"What is {p}? Answer with the number only.", "text": t, "score": s} for p, t, s in answers]
    counts, differences = sums.count_right(rows, trained)
    assert dict(zip(sums.KINDS, [[1, 2], [1, 1], [1, 1], [1, 2]], strict=True)) == counts
    assert differences == 2
