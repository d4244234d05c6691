"""Golds that a verifier compares with and that the data do not have: one line, before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rl.planning.golds import check_prompts, nearest_column
from rl.planning.plan import Plan, plan
from rl.recipe import Recipe, load
from rl.types import Message, Prompt

ROWS = [{"question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(1, 21)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(rows: list[dict[str, Any]]) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(data: dict[str, Any], parts: list[dict[str, Any]], **stage: Any) -> Recipe:
    settings = {"data": "d", "algorithm": "grpo", "steps": 2, "prompts_per_step": 4, "samples_per_prompt": 4, **stage}
    values = {
        "name": "golds",
        "model": {"build": {"hidden_size": 64, "layers": 1, "heads": 2}},
        "data": {"d": data},
        "reward": {"parts": parts},
        "stages": [{"rlvr": settings}],
    }
    return load(values)


def planned(rows: list[dict[str, Any]], verifier: str = "math", fields: dict[str, str] | None = None) -> Plan:
    write(rows)
    return plan(recipe({"source": "jsonl", "path": "rows.jsonl", "fields": fields or {}}, [{"verifier": verifier}]))


def renamed(column: str) -> list[dict[str, Any]]:
    return [{"question": row["question"], "extra": "x", column: row["answer"]} for row in ROWS]


@pytest.mark.parametrize(
    "column",
    [
        "Answer",
        "ANSWER",
        "answers",
        "gold",
        "ground_truth",
        "Final Answer",
        "target",
        "label",
        "solution",
        "anwser",
        "correct_answer",
        "Antwort",
        "答案",
        "réponse",
        "output",
        "my_answer_text",
    ],
)
def test_the_nearest_column_is_named(column: str) -> None:
    fix = f"there is no column 'answer' among question, extra, {column}; map it: data.d.fields: {{answer: {column}}}"
    assert planned(renamed(column)).problems == [
        f"stages[0].rlvr: 'math' compares with a gold answer, and 'd' has none; {fix}"
    ]
    assert planned(renamed(column), fields={"answer": column}).problems == []


def test_a_column_that_nobody_would_guess() -> None:
    [problem] = planned(renamed("zzz")).problems
    assert problem.endswith("among question, extra, zzz; map the one that holds it: data.d.fields: {answer: COLUMN}")


def test_a_mapped_column_that_is_misspelt() -> None:
    [problem] = planned(ROWS, fields={"answer": "Answer"}).problems
    assert problem == "rows.jsonl:1: no column 'Answer'; did you mean 'answer'?"


@pytest.mark.parametrize("verifier", ["math", "text", "numeric", "choice", "wer", "logic"])
def test_who_compares_needs_a_gold(verifier: str) -> None:
    assert len(planned(renamed("Answer"), verifier).problems) == 1
    assert planned(ROWS, verifier).problems == []


@pytest.mark.parametrize("verifier", ["format", "length", "repetition", "language", "coherence"])
def test_who_does_not_compare_needs_none(verifier: str) -> None:
    args = {"language": {"language": "en"}, "length": {"max_tokens": 9, "buffer": 3}}.get(verifier, {})
    write(renamed("Answer"))
    part = {"verifier": verifier, "args": args}
    assert plan(recipe({"source": "jsonl", "path": "rows.jsonl"}, [part])).problems == []


def test_some_prompts_without_a_gold_are_a_note() -> None:
    rows = [{**row, "answer": None} if i in (3, 7) else row for i, row in enumerate(ROWS)]
    result = planned(rows)
    assert result.problems == []
    [note] = [note for note in result.notes if "gold" in note]
    assert note.startswith(
        "stages[0].rlvr: 'math' compares with a gold answer, and 2 of 20 prompts read of 'd' have none, first 'rows/4'"
    )
    assert "column 'answer' is null there" in note


def test_parts_that_judge_other_prompts_or_only_watch_do_not_stop_a_run() -> None:
    rows = [{**row, "set": "a"} for row in ROWS] + [{"question": "Why?", "set": "b"}] * 3
    write(rows)
    data = {"source": "jsonl", "path": "rows.jsonl", "fields": {"source": "set"}}
    parts = [{"verifier": "math", "when": {"source": "a"}}, {"verifier": "format", "name": "format"}]
    assert plan(recipe(data, parts)).problems == plan(recipe(data, parts)).notes == []
    parts[0]["when"] = {"source": "b"}
    assert len(plan(recipe(data, parts)).problems) == 1
    parts[0]["weight"] = 0
    result = plan(recipe(data, parts))
    assert (len(result.problems), len(result.notes)) == (0, 1)


def test_a_verifier_of_the_user_may_do_without() -> None:
    Path("mine.py").write_text(
        "from rl.types import Verdict\ndef verify(prompt, rollout):\n    return Verdict(float(prompt.answer is None))\n"
    )
    result = planned(renamed("Answer"), "mine.py:verify")
    assert result.problems == []
    assert any("'mine.py:verify' compares with a gold answer, and 'd' has none" in note for note in result.notes)


def test_saved_data_sets_and_parquet_tell_their_columns() -> None:
    import datasets

    data = datasets.Dataset.from_list(renamed("Gold"))
    data.save_to_disk("saved")
    datasets.DatasetDict(train=data).save_to_disk("parts")
    data.to_parquet("rows.parquet")
    for source, path in (("huggingface", "./saved"), ("huggingface", "./parts"), ("parquet", "rows.parquet")):
        [problem] = plan(recipe({"source": source, "path": path}, [{"verifier": "math"}])).problems
        assert problem.endswith("among question, extra, Gold; map it: data.d.fields: {answer: Gold}"), source
        wrong = recipe({"source": source, "path": path, "fields": {"answer": "gold"}}, [{"verifier": "math"}])
        assert plan(wrong).problems == [f"{path}: no column 'gold'; did you mean 'Gold'?"], source


def test_a_folder_has_the_names_of_its_classes() -> None:
    for name in ("dog", "cat"):
        Path(name).mkdir()
        Path(name, "1.wav").write_bytes(b"")
    data = {"source": "folder", "path": ".", "template": "What is it?"}
    used = recipe(data, [{"verifier": "text"}], split=None, prompts_per_step=2)
    assert any(problem.endswith("map it: data.d.fields: {answer: label}") for problem in plan(used).problems)


def test_all_prompts_are_checked_when_they_are_read() -> None:
    """Also of sources that `rl check` does not open."""
    Path("mine.py").write_text("def prompts(split):\n    yield None\n")
    used = recipe({"source": "mine.py:prompts"}, [{"verifier": "math"}])
    answered, open_ended = (Prompt(name, (Message("user", "Q"),), answer) for name, answer in (("a", "1"), ("b", None)))
    said: list[str] = []
    check_prompts(used, lambda *_, **__: [answered], said.append)
    assert said == []
    check_prompts(used, lambda *_, **__: [answered, open_ended], said.append)
    assert said == [
        "warning: stages[0].rlvr: 'math' compares with a gold answer, and 1 of 2 prompts read of 'd' have none, first 'b'; "
        "have mine.py:prompts give each Prompt an `answer`"
    ]
    with pytest.raises(
        ValueError, match=r"^stages\[0\]\.rlvr: 'math' compares with a gold answer, and 'd' has none; have"
    ):
        check_prompts(used, lambda *_, **__: [open_ended], said.append)


def test_columns_of_something_else_are_no_candidates() -> None:
    assert nearest_column(["question", "id", "label"], {"label", "question", "id"}) is None
    assert nearest_column(["solution", "Answer"], set()) == "Answer"
