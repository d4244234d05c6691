"""Every deterministic rule against verdicts that were recorded from elsewhere.

`golden/SET.jsonl` holds answers with the verdict of the set's own code where that is public (`RUN`; null: it leaves the answer
out of its mean), else one that was reasoned by hand from the rule's description (`BY_HAND`).
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

RUN = {
    "mmau": "Sakshi113/MMAU @110127f, evaluation.py: string_match",
    "mmar": "ddlBoJack/MMAR @3bce090, code/evaluation.py: string_match",
    "mmsu": "dingdongwang/MMSU @217d1d3, mmsu_evaluation.py: calculate_accuracy_per_task_and_category of each answer alone",
    "spoken_mqa": "AudioLLMs/AudioBench @3c4e386, src/dataset_src/spoken_mqa.py: compute_score of each answer alone; from "
    "@420b28a on it takes a list of references and raises TypeError where one is 1,200",
    "gsm8k": "openai/grade-school-math @3101c7d, grade_school_math/dataset.py: is_correct",
    "math500": "hendrycks/math @985bdc1, modeling/math_equivalence.py: is_equiv of the gold and what dataset/util.py's "
    "last_boxed_only_string finds, without its box",
}
"""Set -> function that was run on its answers, with repository and commit."""
BY_HAND = {
    "aime": "no official code is public",
    "bbh": "its rule in words: what follows 'answer is', letter for letter",
    "big_bench_audio": "the official rule is a judge; these say what a strict one would",
    "dcase2025": "the official matcher is not public; these are of the strict rule",
    "mmau_pro": "the official rule asks NV-Embed-v2; these are of MMAU's word sets, our substitute",
    "step_spqa": "its README: equal to the reference or the label once case and marks are gone",
}
"""Set -> where the rule comes from by which its verdicts were reasoned."""


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


def test_every_golden_file_says_whose_verdicts_it_holds() -> None:
    assert sorted([*RUN, *BY_HAND]) == sorted(ROWS)
    assert all(" @" in function for function in RUN.values())
    substitutes = {name for name, benchmark in BENCHMARKS.items() if benchmark.is_substitute}
    assert substitutes <= {*BY_HAND}, "no substitute has verdicts of the set's own code"


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
