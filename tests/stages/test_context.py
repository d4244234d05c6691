"""Data that a stage reads under the names that the recipe gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from contexts import context

from rl.run.files import write_jsonl
from rl.types import Demonstration, Message, Prompt


def test_a_file_named_like_a_data_set_is_not_read_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("likes").write_text("notes\n")
    row = Prompt("p", (Message("user", "?"),), fields={"chosen": "yes", "rejected": "no"})
    stage = context(tmp_path / "dpo", {"likes": [row]}, artifact=lambda kind, name: Path(name))
    (pair,) = stage.pairs("likes", None, None)
    assert (pair.chosen, pair.rejected) == (Demonstration("", "yes"), Demonstration("", "no"))


def test_pairs_of_a_stage_are_read_from_its_file(tmp_path: Path) -> None:
    file, side = tmp_path / "pairs.jsonl", {"reasoning": "r", "response": "a"}
    row = {"id": "p#0>1", "data": "d", "split": None, "prompt": "p", "chosen": side, "rejected": side}
    write_jsonl(file, [row, {**row, "id": "p#2>1"}])
    lookup = [Prompt("p", (Message("user", "?"),))]
    stage = context(
        tmp_path / "dpo", {}, artifact=lambda kind, name: file, lookup=lambda name: lambda data, split: lookup
    )
    assert [pair.id for pair in stage.pairs("pairs", None, 1)] == ["p#0>1"]
