"""Columns of chains that nobody would learn: a note with the line that maps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rl.planning.plan import plan
from rl.recipe import load


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def notes(row: dict[str, Any], fields: dict[str, str], stage: str = "sft", think: Any = "auto") -> list[str]:
    Path("rows.jsonl").write_text(json.dumps({"question": "q", "answer": "1", **row}) + "\n")
    settings: dict[str, Any] = {"data": "d"}
    if stage == "rlvr":
        settings |= {"algorithm": "grpo", "steps": 1, "prompts_per_step": 1, "samples_per_prompt": 2}
    values = {
        "name": "chains",
        "model": {"build": {"hidden_size": 64, "layers": 1, "heads": 2}, "think": think},
        "data": {"d": {"source": "jsonl", "path": "rows.jsonl", "fields": fields}},
        "reward": {"parts": [{"verifier": "math"}]},
        "stages": [{stage: settings}],
    }
    result = plan(load(values))
    assert not [line for line in result.problems if "chain" in line], result.problems
    return [note for note in result.notes if "looks like a chain" in note]


RESPONSE = {"response": "answer"}


@pytest.mark.parametrize(
    "column",
    [
        "cot",
        "COT",
        "rationale",
        "Rationales",
        "chain_of_thought",
        "Complex_CoT",
        "deepseek_reasoning",
        "thought",
        "思维链",
    ],
)
def test_a_column_of_chains_is_named(column: str) -> None:
    says = f"column '{column}' of 'd' looks like a chain of thought and is not read; to teach it before the answer map it: "
    (note,) = notes({column: "because"}, RESPONSE)
    assert note == f"stages[0].sft: {says}data.d.fields: {{reasoning: {column}}}"
    assert notes({column: "because"}, {**RESPONSE, "reasoning": column}) == []


def test_one_that_is_handed_on_is_named_too() -> None:
    (note,) = notes({"why": "because", "rationale": "r"}, {**RESPONSE, "cot": "rationale"})
    assert "column 'rationale' of 'd' looks like a chain of thought and goes to verifiers alone, as 'cot'" in note


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"robot": "x", "apricot": "x", "thoughtful": "x", "think_time": "3"}, RESPONSE),
        ({"rationale": "r"}, {**RESPONSE, "answer": "rationale"}),
        ({"rationale": "r", "reasoning": "because"}, RESPONSE),
        ({"cot": "r", "text": "<think>r</think>1"}, {"response": "text"}),
    ],
)
def test_other_columns_are_left_alone(row: dict[str, Any], fields: dict[str, str]) -> None:
    assert notes(row, fields) == []


def test_who_learns_no_chain_is_not_told() -> None:
    assert notes({"cot": "r"}, RESPONSE, think=False) == []
    assert notes({"cot": "r"}, RESPONSE, stage="rlvr") == []
