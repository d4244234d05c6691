"""Preferences on the real engines: what is chosen becomes likely."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rl.recipe import load
from rl.run.tracker import read_metrics
from rl.runner import run

LETTERS = "abcdefghij"


def preferences(path: Path) -> dict[str, Any]:
    """A data set in which the letter asked for is preferred to the one after it."""
    following = dict(zip(LETTERS, LETTERS[1:] + LETTERS[0], strict=True))
    rows = [
        {"id": f"{a}{b}", "question": f"{a} {b}", "answer": a, "chosen": f"<think>{b}</think>{a}"}
        | {"rejected": f"<think>{b}</think>{following[a]}", "split": "test" if i % 5 == 4 else "train"}
        for a in LETTERS
        for i, b in enumerate(LETTERS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {name: name for name in ("question", "answer", "chosen", "rejected")}
    return {"source": "jsonl", "path": str(path), "fields": fields}


def recipe(tmp_path: Path, stages: list[dict[str, Any]], **header: Any) -> Any:
    values = {
        "name": "tiny",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"letters": preferences(tmp_path / "letters.jsonl")},
        "reward": {"parts": [{"verifier": "text"}]},
        "engines": {"kv_cache_mb": 64},
        **header,
    }
    return load({**values, "stages": stages})


def test_dpo_prefers_what_was_chosen(ray_session: None, tmp_path: Path) -> None:
    shared = {"data": "letters", "pairs_per_step": 16, "max_sequence_tokens": 48, "optimizer": {"learning_rate": 3e-3}}
    ipo = {"name": "ipo", "model": "dpo", "loss": "ipo", "epochs": 1, **shared}
    made = recipe(tmp_path, [{"dpo": {"epochs": 10, **shared}}, {"dpo": ipo}])
    summary = run(made, tmp_path / "run", say=lambda _: None)
    assert summary.status == "done"
    rows = [row for row in read_metrics(tmp_path / "run") if row["stage"] == "dpo"]
    assert rows[0]["margin"] == rows[0]["reward/chosen"] == 0, "the policy starts as its own reference"
    assert rows[0]["loss"] == 0.6931471824645996
    assert rows[0]["accuracy"] == 0.5
    assert len(rows) == 50
    assert summary.stages[0].metrics["accuracy"] > 0.9
    assert summary.stages[0].metrics["margin"] > 0.5
    first = next(row for row in read_metrics(tmp_path / "run") if row["stage"] == "ipo")
    assert first["loss"] == 25.0
