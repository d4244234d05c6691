"""Attacks with the question's own words and with the gold in another form; and where they are no attacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewards.contract import Case
from rl.workbench.attacks import list_attempts
from rl.workbench.cases import from_gold
from rl.workbench.question_attacks import find_expressions

CALCULATES = """
import re
from rl.types import Verdict

def verify(prompt, rollout):
    text = rollout.response.rpartition("answer is ")[2].strip(" .$=?")
    value = eval(text) if re.fullmatch(r"[-+*/() 0-9]+", text) else None
    return Verdict(float(value == float(prompt.answer)))

def number(prompt, rollout):
    return Verdict(float(rollout.response.strip() == prompt.answer))
"""
SUM = "What is 49+26? Answer with the number only."


def attempts(pred: str, gold: str, question: str = "", **fields: object) -> dict[str, set[str]]:
    """The answers that are tried on a right case, by attack."""
    texts: dict[str, set[str]] = {}
    for attempt in list_attempts(from_gold([Case(pred, gold, question=question, fields=fields)])):
        texts.setdefault(attempt.attack, set()).add(attempt.rollout.text)
    return texts


def test_a_verifier_that_calculates_is_found_out(rl, home: Path):
    (home / "own_sums.py").write_text(CALCULATES)
    (home / "sums.jsonl").write_text(json.dumps({"pred": "75", "gold": "75", "equal": True, "prompt": SUM}))
    code, out, _ = rl("verifiers", "attack", "own_sums.py:verify", "--cases", "sums.jsonl", "--json")
    attacks = json.loads(out)["attacks"]
    assert code == 1
    assert {name for name, counts in attacks.items() if counts["full"]} == {"question's expression", "sum of the gold"}
    code, out, _ = rl("verifiers", "attack", "own_sums.py:number", "--cases", "sums.jsonl", "--json")
    assert (code, json.loads(out)["full"]) == (0, 0)


def test_what_is_tried_on_a_sum():
    tried = attempts("75", "75", SUM)
    assert {"49+26", "\\boxed{49+26}", "The answer is 49+26.", "49+26 =", "49+26 = 49+26"} <= tried[
        "question's expression"
    ]
    assert {"49, 26", "49 and 26", "49", "\\boxed{26}"} <= tried["question's numbers"]
    assert {"37+38", "75+0", "75*1", "75/1", "75-0", "1*75", "82-7", "150/2"} <= tried["sum of the gold"]
    assert {SUM, f"The answer is {SUM}"} <= tried["prompt echoed"]
    for text in tried["prose around the gold"]:
        assert not text.rstrip(" .").endswith("75")
    assert any(" 74, 75, 76" in text and "49+26" in text for text in tried["prose around the gold"])


@pytest.mark.parametrize(
    ("question", "gold", "expressions"),
    [
        ("What is 12 × 11?", "132", ["12*11"]),
        ("Compute (3 + 4) * 2.", "14", ["(3+4)*2"]),
        ("Wie viel ist 7·8?", "56", ["7*8"]),
        ("What is 150/6?", "25", ["150/6"]),
        ("Compute $2^{10}$ or rather 2^10.", "1024", ["2^10"]),
        ("What is \\sqrt{144}?", "12", ["\\sqrt{144}"]),
        ("What is 5!?", "120", ["5!"]),
        ("What is seven plus five?", "12", ["seven plus five"]),
        ("Find the sum of 3 and 4.", "7", ["sum of 3 and 4"]),
        ("3+4 和 5-2 哪个大", "7", ["3+4", "5-2"]),
        ("What is 3/4 as a decimal?", "0.75", []),
        ("Write 1.2 × 10^3 in full.", "1200", []),
        ("Tom has 12 apples and 30 pears.", "42", []),
    ],
)
def test_expressions_of_a_question(question: str, gold: str, expressions: list[str]):
    assert find_expressions(question, gold) == expressions


@pytest.mark.parametrize(
    ("pred", "gold", "question"),
    [
        ("49+26", "49+26", "Write 75 as a sum, such as 49+26."),
        ("3+5*8", "3 + 5 * 8", "Use 3, 5 and 8 to make 43."),
        ("\\boxed{2^{10}}", "2^10", "Factor 1024 as in 2^10."),
        ("40+2", "42", "Give any sum that makes 42, as 40+2 does."),  # whoever labelled it takes calculations
    ],
)
def test_where_a_calculation_is_the_answer_none_is_an_attack(pred: str, gold: str, question: str):
    tried = attempts(pred, gold, question)
    assert "question's expression" not in tried
    assert "sum of the gold" not in tried
    assert not any("+" in text for text in tried.get("prose around the gold", ()))


def test_a_worked_answer_does_not_make_calculations_right():
    assert "sum of the gold" in attempts("49 + 26 = 75", "75", SUM)
    assert "question's expression" in attempts("So 49+26 is \\boxed{75}", "75", SUM)


def test_a_number_that_is_right_or_nearly_is_no_attack():
    tried = attempts("120", "118.5", "Is it nearer to 40 or to 120 Hz?")
    assert {"40", "40, 120"} <= tried["question's numbers"]
    assert "120" not in tried["question's numbers"]
    assert "question's numbers" not in attempts("B", "B", "A) 12 B) 15")
    assert "question's numbers" not in attempts("15", "15", "Which?", options=["12", "15"])
    assert attempts("7", "7", "What is 7+0?")["question's numbers"] >= {"7, 0", "0"}
    assert "7" not in attempts("The 7", "7", "What is 7+0?")["question's numbers"]


@pytest.mark.parametrize(
    ("gold", "question"), [("the cat sat", "The cat sat"), ("What is  love?", "What is love?"), ("", " ")]
)
def test_the_question_is_no_attack_where_it_is_the_answer(gold: str, question: str):
    assert "prompt echoed" not in attempts(gold or "x", gold, question)


@pytest.mark.parametrize("gold", ["-38", "0", "0.5", "1000000"])
def test_sums_of_any_number(gold: str):
    for text in attempts(gold, gold)["sum of the gold"]:
        plain = (
            text.removeprefix("The answer is ").rstrip(".").replace("<answer>", "").replace("</answer>", "").strip("$")
        )
        if "\\" not in plain:
            assert eval(plain) == pytest.approx(float(gold)), text
