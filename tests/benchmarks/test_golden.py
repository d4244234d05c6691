"""Every deterministic rule against verdicts that were recorded from elsewhere.

`golden/SET.jsonl` holds answers with the verdict of the set's own code where that is public (mmau, mmar, mmsu, gsm8k,
math500, spoken_mqa: its function was run on them; null: it leaves the answer out of its mean), else one that was reasoned
by hand from the rule's description.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rewards.contract import Case
from rewards.verifiers.benchmark import verify
from rl.benchmarks.rules import word_sets
from rl.benchmarks.sets import BENCHMARKS
from rl.types import Prompt

GOLDEN = Path(__file__).parent / "golden"
ROWS = {file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in sorted(GOLDEN.iterdir())}


def fields_of(name: str, row: dict[str, Any]) -> dict[str, object]:
    return {"benchmark": name} | {key: row[key] for key in ("options", "label", "is_raw_reference") if key in row}


@pytest.mark.parametrize("name", ROWS)
def test_a_rule_gives_the_recorded_verdicts(name: str) -> None:
    assert len(ROWS[name]) >= 30
    wrong: list[tuple[object, ...]] = []
    for row in ROWS[name]:
        rollout = Case(row["said"], row["answer"], fields=fields_of(name, row)).rollout()
        if "official" in row:
            rule = BENCHMARKS[name].official
            assert rule is not None
            mark = rule(rollout.prompt, rollout.response)
            verdict = bool(mark.score) if mark.is_counted else None
            expected = row["official"]
        else:
            verdict, expected = verify(rollout.prompt, rollout, rule="strict").score == 1, row["strict"]
        if verdict != expected:
            wrong.append((row["answer"], row["said"], "recorded", expected, "here", verdict))
    assert wrong == []


def test_every_set_with_a_rule_has_golden_answers() -> None:
    assert {name for name, benchmark in BENCHMARKS.items() if benchmark.rules} == {*ROWS}


def letter_case(prompt: Prompt, form: str) -> str:
    options: Any = prompt.fields["options"]
    return form.format(letter="ABCDEFGH"[options.index(prompt.answer)], gold=prompt.answer)


def mmau_file() -> Path | None:
    """The user's own mmau-test-mini.json."""
    folder = Path(os.environ.get("GROUNDTONE_DATA", "/nowhere")) / "mmau"
    return next(iter(folder.glob("**/mmau-test-mini.json")), None)


def test_what_the_word_sets_of_mmau_do_to_right_answers() -> None:
    """On the 1,000 items where the file is there, else on the order questions and letters that make the difference."""
    file = mmau_file()
    if file:
        rows = json.loads(file.read_text())
        expected = {"{gold}": 1000, "{letter}. {gold}": 967, "The answer is {gold}.": 907, "{letter}": 2}
        wrong_options = 9
    else:
        order = ["first: neutral, second: frustration", "first: frustration, second: neutral"]
        rows = [
            {"choices": order, "answer": order[0]},
            {"choices": ["A man and a child", "John F. Kennedy"], "answer": "John F. Kennedy"},
            {"choices": ["A dog", "Is it the wind"], "answer": "A dog"},
        ]
        expected = {"{gold}": 3, "{letter}. {gold}": 3, "The answer is {gold}.": 2, "{letter}": 0}
        wrong_options = 1
    prompts = [Prompt("x", (), row["answer"], fields={"options": row["choices"]}) for row in rows]
    accepted = {form: sum(word_sets(p, letter_case(p, form)).score for p in prompts) for form in expected}
    assert accepted == expected
    options: list[tuple[Prompt, Any]] = [(prompt, prompt.fields["options"]) for prompt in prompts]
    assert sum(any(word_sets(p, o).score for o in of if o != p.answer) for p, of in options) == wrong_options
