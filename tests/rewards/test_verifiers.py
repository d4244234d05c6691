from __future__ import annotations

import importlib
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import data_file

from rewards import resolve
from rewards.answers.texts import normalise_text
from rewards.contract import Case

NAMES = sorted(name for name in resolve.list_verifiers() if not resolve.asks_a_model(name))


def module(name: str) -> Any:
    return importlib.import_module(f"rewards.verifiers.{name}")


def score(name: str, case: Case) -> float:
    rollout = case.rollout()
    return module(name).verify(rollout.prompt, rollout, **case.args).score


def rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data_file(file).read_text().splitlines()]


@pytest.mark.parametrize(("name", "case"), [(n, c) for n in NAMES for c in module(n).GOLD])
def test_gold(name: str, case: Case):
    low, high = case.bounds
    assert low <= score(name, case) <= high


@pytest.mark.parametrize(
    "args",
    [
        {"unevaluated": "allow"},
        {"units": "required"},
        {"bases": "optional"},
        {"inequalities": "distinct"},
        {"order": "given"},
    ],
    ids=str,
)
def test_the_gold_of_math_holds_under_every_policy(args: dict[str, str]):
    """A run judges the gold cases with the recipe's arguments: none of these may stop it."""
    for case in module("math").GOLD:
        low, high = case.bounds
        rollout = case.rollout()
        assert low <= module("math").verify(rollout.prompt, rollout, **(args | dict(case.args))).score <= high, case


def test_every_verifier_has_gold_of_both_kinds():
    assert all({case.equal for case in module(name).GOLD} == {True, False} for name in NAMES)


def test_math_agrees_with_the_labelled_answers():
    """515 answers from the test suites of other libraries; math-verify as such: 6 disagreements."""
    wrong = Counter[bool]()
    for row in rows("verifier_gold.jsonl"):
        if row["cls"] == "math":
            equal = row.get("corrected_equal", row["equal"])
            wrong[equal] += (score("math", Case(row["pred"], row["gold"])) == 1.0) != equal
    assert wrong[False] == 0, "false positives"
    assert wrong[True] <= 1, "false negatives"


def test_math_agrees_with_labelled_solutions():
    for row in rows("gsm8k/model_solutions_labelled.jsonl")[::4]:
        assert score("math", Case(row["pred"], row["gold"])) == float(row["equal"]), row["pred"]


@pytest.mark.parametrize("name", ["text", "choice"])
def test_text_and_choice_agree_with_the_labelled_answers(name: str):
    for row in rows("verifier_gold.jsonl"):
        if row["cls"] == name:
            metadata = json.loads(row.get("context", {}).get("metadata", "{}"))
            gold = metadata.get("correct_letter", row["gold"])
            fields = {"options": metadata["choices"]} if "choices" in metadata else {}
            assert score(name, Case(row["pred"], gold, fields=fields)) == float(row["equal"]), row


@pytest.mark.parametrize(
    ("pred", "gold", "equal"),
    [
        ("1,234", "1234", True),
        ("\\$16,\\!386.20", "16386.2", True),
        ("the result is 7", "#### 7", True),
        ("$1$", "1 - \\frac{1}{\\mathrm{e}}", False),
        ("\\boxed{}", "5", False),
        ("0.0000001", "0", False),
        ("1 2 3 4", "24", False),
        ("1\n2\n3\n42", "42", False),
        ("the answer is 42 or 43", "42", False),
        ("\\boxed{1}\\boxed{2}\\boxed{3}", "1", False),
        ("\\boxed{41, 42, 43}", "42", False),
        ("-42", "42", False),
        ("(1,2)", "(2,1)", False),
        ("[0,1]", "(0,1)", False),
        ("x > -1", "x < 1", False),
        ("9" * 5000, "9", False),
        ("no", "yes", False),
    ],
)
def test_math_is_not_fooled(pred: str, gold: str, equal: bool):
    assert score("math", Case(pred, gold)) == float(equal)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}", "\\boxed{{{}}}", "So it is {}.", "#### {:,}", "${}$"])
)
def test_math_reads_a_number_in_any_dress(number: int, dress: str):
    assert score("math", Case(dress.format(number), str(number))) == 1.0
    assert score("math", Case(dress.format(number), str(number + 1))) == 0.0


HALF = ["0.5", "\\boxed{\\frac{1}{2}}", "The answer is 2/4.", "<think>no</think>it is 1/2"]


@pytest.mark.parametrize(
    ("name", "gold", "fields", "preds", "read"),
    [
        ("math", "3", {}, HALF, "1/2"),
        ("math", "\\text{Tuesday}", {}, ["The answer is Monday.", "\\text{Monday}"], "monday"),
        ("math", "3", {}, ["5000!"], "5000!"),
        ("numeric", "3", {}, ["120", "about 120 Hz", "1.2e2"], "120.0"),
        ("numeric", "3", {}, ["119 or 120", "none"], ""),
        ("choice", "C", {"options": ["a dog", "a violin", "a cat"]}, ["B", "(B) a violin", "a violin"], "B"),
        ("text", "bye", {}, ["Hello!", "<answer>hello</answer>"], "hello"),
        ("logic", "(1) Al is a knight\n(2) Bo is a knave", {}, ["Bo: knave, Al: knight"], "Al: knight, Bo: knave"),
        ("wer", "bye", {}, ["The cat sat.", "the cat sat"], "the cat sat"),
        ("arbitration", "bye", {}, ["<internal>The cat sat.", "<rewrite> the cat sat", "The cat, sat"], "the cat sat"),
    ],
)
def test_an_answer_is_read_in_one_form(name: str, gold: str, fields: dict[str, Any], preds: list[str], read: str):
    """However it is said; a vote over samples counts by it."""
    rollouts = [Case(pred, gold, fields=fields).rollout() for pred in preds]
    assert {module(name).verify(rollout.prompt, rollout).read for rollout in rollouts} == {read}


def test_a_prompt_without_answer_is_an_error_not_a_zero():
    for name in ("math", "text", "choice"):
        with pytest.raises(ValueError, match="answer"):
            score(name, Case("4", None))


@given(st.text())
def test_normalised_is_idempotent_up_to_its_leading_article(text: str):
    once = normalise_text(text)
    assert once == once.strip()
    assert normalise_text(f"  {text}\n") == once


@given(st.text(st.characters(whitelist_categories=["Ll"], max_codepoint=122), min_size=1))
def test_text_tells_words_apart(word: str):
    assert score("text", Case(f" {word.upper()}.", word)) == 1.0
    assert score("text", Case(word + "x", word)) == 0.0
