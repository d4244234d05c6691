"""Word problems with the expression that solves each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_data import data_file

from rl import bundled
from rl.data import user_functions

FILE = Path(bundled.FOLDER) / "word_problems.py"
PROBLEMS = user_functions.load(f"{FILE}:problems", "data.problems")
SHORTEN = user_functions.load(f"{FILE}:shorten", "data.problems")


@pytest.mark.parametrize(
    ("equation", "expression"),
    [
        ("( ( 4.0 * 20.0 ) - 18.0 )", "4*20-18"),
        ("( 4.0 * ( 20.0 - 18.0 ) )", "4*(20-18)"),
        ("( 10.0 / 2.50 )", "10/2.5"),
        ("( 100.0 - 10.05 )", "100-10.05"),
    ],
)
def test_an_equation_is_written_as_short_as_it_can_be(equation: str, expression: str) -> None:
    assert SHORTEN(equation, "row") == expression


def test_an_equation_that_is_none_and_a_missing_column_are_one_line(tmp_path: Path) -> None:
    row = {"id": "a", "question": "Four?", "equation": "( 4.0 *", "answer_final": "4", "split": "train"}
    file = tmp_path / "rows.jsonl"
    for rows, says in [
        ([row], rf"^{file}:1: equation '\( 4\.0 \*' is no expression; correct it$"),
        ([{"id": "a"}], rf"^{file}:1: no column 'question'"),
    ]:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(ValueError, match=says):
            list(PROBLEMS("train", str(file)))


def test_a_problem_whose_equation_does_not_lead_to_its_answer_is_left_out(tmp_path: Path) -> None:
    rows = [
        {
            "id": "a",
            "question": "Four and twenty?",
            "equation": "( 4.0 + 20.0 )",
            "answer_final": "24",
            "split": "train",
        },
        {
            "id": "b",
            "question": "Four of twenty?",
            "equation": "( 4.0 + 20.0 )",
            "answer_final": "80",
            "split": "train",
        },
        {"id": "c", "question": "Four less?", "equation": "( 20.0 - 4.0 )", "answer_final": "16", "split": "test"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (prompt,) = PROBLEMS("train", str(file))
    assert (prompt.id, prompt.answer) == ("svamp/a", "24")
    assert prompt.question == "Four and twenty? Answer with the number only."
    assert (prompt.demonstration.reasoning, prompt.demonstration.response) == ("<calc>4+20</calc>", "24")
    assert [prompt.id for prompt in PROBLEMS(None, str(file))] == ["svamp/a", "svamp/c"]


def test_the_splits_of_the_file_are_kept() -> None:
    file = str(data_file("svamp/data.jsonl"))
    ids = [{prompt.id for prompt in PROBLEMS(split, file)} for split in ("train", "validation")]
    assert [len(part) for part in ids] == [699, 100]
    assert not ids[0] & ids[1]
