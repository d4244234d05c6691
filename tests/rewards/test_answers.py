"""What still stands of a response: right answers in ordinary English stay right, and what is denied, called wrong or
taken back does not count."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.answers.marks import BOX_ATOM, NUMBER_ATOM, is_enumeration, last_boxes, marked_answer, stated_answer
from rewards.answers.retractions import after_correction, drop_denied
from rewards.contract import Case

CITIES = {"options": ["London", "Paris", "New York", "York"]}
TWO = "(1) Michael is a knight\n(2) Zoey is a knave"
ATOM = rf"{BOX_ATOM}|{NUMBER_ATOM}"


def score(verifier: str, pred: str, gold: str, fields: dict[str, Any] | None = None) -> float:
    rollout = Case(pred, gold, fields=fields or {}).rollout()
    return importlib.import_module(f"rewards.verifiers.{verifier}").verify(rollout.prompt, rollout).score


IS_42 = [
    "No, wait. 42 it is.",
    "It is not 41 but 42.",
    "Not 41; 42.",
    "42, not 41.",
    "42 rather than 41.",
    "Rather than 41, 42.",
    "The answer is 42, because 6 x 7 is not 41.",
    "Nothing but 42 fits.",
    "It can't be anything other than 42.",
    "No number other than 42 works.",
    "All are ruled out except 42.",
    "Every answer but 42 is wrong.",
    "Some would say 41, which is wrong: 42.",
    "41 is wrong because 42 is right.",
    "Neither 40 nor 41: 42.",
    "First 30, no: 42",
    "I thought 41. Actually, 42.",
    "The answer is 41. Sorry, I mean 42.",
    "The answer is 42. Actually, I checked it in 3 ways.",
    "The answer is 42. No more, no less.",
    "Believe it or not, 42.",
    "Believe it or not: 42",
    "I'm not sure, but 42.",
    "I am not 100% sure, but 42.",
    "The answer is 42. That is not a typo.",
    "Ruling out 40 and 41, we get 42.",
    "The result isn't 41, it's 42.",
    "\\boxed{42} (not 41)",
    "\\boxed{41} is wrong. \\boxed{42}",
    "Not \\boxed{41} but \\boxed{42}.",
    "\\boxed{42}. Actually, 43 is prime.",
    "\\boxed{42}. No, I did not use 43.",
    "\\boxed{42}\nThis is not the same as 43.",
    "It isn't 6 + 7 = 13, it is 6 * 7 = 42.",
    "x ≠ 0, so x = 42",
    "If x is not 0 then x = 42.",
    "Why not 41? Since 6 * 7 = 42.",
    "<answer>42</answer>",
    "Wait, 6 * 7 = 42, so the answer is 42.",
    "On second thought, 42.",
    "There are not 41 but 42 of them.",
    "She never had 41. She had 42.",
    "The answer: 42",
    "#### 42",
    "It was 41 before, now 42",
    "It is never more than 42",
    "no, 42",
    "Hmm, wait, wait. It's 42.",
    "The answer is not 41, it's 42.",
    "Instead of 41 we have 42.",
]
NOT_42 = [
    "not 42",
    "The answer is not 42.",
    "Anything but 42",
    "42 is wrong.",
    "42? That's wrong.",
    "The answer is 42. No, wait: 41.",
    "The answer is 42. Actually, it is 41.",
    "42. No: 41",
    "Neither 41 nor 42",
    "41 and 42 are wrong",
    "anything other than 42",
    "every number except 42",
    "It can't be 42.",
    "42 cannot be right",
    "the wrong answer is 42",
    "42 is not the answer",
    "The answer isn't 42",
    "\\boxed{42} is wrong. It is \\boxed{41}.",
    "not \\boxed{42}",
    "The answer is 41, not 42",
    "41 instead of 42",
    "We rule out 42",
    "-42",
    "The answer is 42. Sorry, I mean 41.",
    "The answer is 42. No, wait: the answer is nothing.",
    "nicht 42",
    "<answer>42</answer> is wrong",
    "The answer is 42 or 43",
    "42 or 43",
    "The answer is either 42 or 43.",
]
IS_C = [
    "C",
    "(C)",
    "C.",
    "The answer is C.",
    "It is not A but C.",
    "Not A or B, but C.",
    "A and B are wrong, so C.",
    "A is wrong, B is wrong. C.",
    "Every option but C is wrong.",
    "None other than C.",
    "We ruled out A, then B, settled on C",
    "C, I think.",
    "I think it's C, not A.",
    "It's C I think",
    "B? No, wait: C.",
    "The answer is A. Sorry, C.",
    "The answer is C. I am sure.",
    "The answer is C. Actually, I am sure.",
    "Neither A nor B fits; C does.",
    "Of A, B and C, C fits best.",
    "C is right.",
    "Option C",
    "Answer: C",
    "\\boxed{C}",
    "\\boxed{\\text{C}}",
    "<answer>C</answer>",
    "The correct answer is **(C)** because it rains.",
    "C because A or B would be too loud",
    "I'd say C. A dog barks.",
    "The answer is C: not B.",
    "The answer isn't B. It's C.",
    "That leaves C.",
    "No, not A. C.",
    "Wait, A cannot be right. C.",
    "C, no doubt",
    "Between B and C, C is louder.",
    "c",
    "(c)",
    "Having ruled out A and B, C remains.",
    "All but C are wrong.",
]
NOT_C = [
    "not C",
    "The answer is not C.",
    "Anything but C",
    "C is wrong",
    "C? That is wrong.",
    "The answer is C. No, wait: the answer is A.",
    "A or C",
    "The answer is either A or C",
    "A, B, C",
    "Neither A nor C",
    "A and C are wrong",
    "\\boxed{A} or \\boxed{C}",
    "C or A",
    "It cannot be C",
    "All but C",
    "every option except C",
    "The answer is C. Actually, B.",
    "the answer isn't C",
]
IS_NEW_YORK = [
    "New York",
    "It is New York.",
    "Not London but New York.",
    "C. New York",
    "(C) New York",
    "New York, not York.",
    "London is wrong; New York.",
    "It's New York rather than Paris.",
    "The answer is C, New York.",
    "C. London has no such thing.",
    "C: New York",
    "Paris? No, New York.",
    "C, since Paris or London would be louder",
    "Definitely not York: New York",
    "the answer is new york",
    "New York (C)",
    "Neither London nor Paris, New York it is.",
    "C (New York)",
    "I hear New York, no doubt.",
    "The answer is New York.",
]
NOT_NEW_YORK = [
    "not New York",
    "anything but New York",
    "New York is wrong",
    "C or London",
    "New York or London",
    "New York / London",
    "not C",
    "C. No, wait: London",
]
IS_TWO = [
    TWO,
    "Zoey is not a knight but a knave.\n" + TWO,
    "Not everyone lies.\n" + TWO,
    "I think not. " + TWO,
    "Wait, " + TWO,
    "(1) Michael is a knight.\n(2) Actually, Zoey is a knave.",
    "Michael is a knave? No, wait:\n" + TWO,
    "It cannot be that both lie. Michael is a knight, Zoey is a knave.",
    "Michael is a knight and Zoey is not a knight.",
    "Zoey is not a knight, Michael is a knight.",
    "(1) Michael is a knave\n(2) Zoey is a knave\nNo, wait: Michael is a knight.",
    "\\boxed{(1) Michael is a knight (2) Zoey is a knave}",
    "The answer is: (1) Michael is a knight (2) Zoey is a knave",
]
NOT_TWO = [
    f"not {TWO}",
    f"Anything but {TWO}",
    f"The answer is {TWO}. No, wait: the answer is nothing.",
    f"\\boxed{{{TWO}}} is wrong.",
    f"{TWO}\nNo, wait: Zoey is a knight.",
]


@pytest.mark.parametrize("verifier", ["numeric", "math"])
@pytest.mark.parametrize(("pred", "right"), [*((p, 1.0) for p in IS_42), *((p, 0.0) for p in NOT_42)])
def test_numbers(verifier: str, pred: str, right: float):
    assert score(verifier, pred, "42") == right


@pytest.mark.parametrize(("pred", "right"), [*((p, 1.0) for p in IS_C), *((p, 0.0) for p in NOT_C)])
def test_letters(pred: str, right: float):
    assert score("choice", pred, "C") == right


@pytest.mark.parametrize(("pred", "right"), [*((p, 1.0) for p in IS_NEW_YORK), *((p, 0.0) for p in NOT_NEW_YORK)])
def test_options(pred: str, right: float):
    assert score("choice", pred, "C", CITIES) == right


@pytest.mark.parametrize(("pred", "right"), [*((p, 1.0) for p in IS_TWO), *((p, 0.0) for p in NOT_TWO)])
def test_statements(pred: str, right: float):
    assert score("logic", pred, TWO) == right


def test_what_is_denied_goes_and_the_rest_stays():
    assert drop_denied("not 41 but 42", ATOM) == "not   but 42"
    assert drop_denied("neither 40 nor 41: 42", ATOM) == "neither   nor  : 42"
    assert drop_denied("40 and 41 are wrong", ATOM) == "  and   are wrong"
    assert drop_denied("none other than 42, whatever 3 + 4 says", ATOM) == "none other than 42, whatever 3 + 4 says"
    assert drop_denied("every number but 42 is wrong", ATOM) == "every number but 42 is wrong"


def test_a_correction_brings_another_answer():
    assert after_correction("41. No, wait: it is 42", ATOM) == "it is 42"
    assert after_correction("41. Actually, the answer is nothing", ATOM) == "the answer is nothing"
    assert after_correction("42. Actually, I am sure.", ATOM) == "42. Actually, I am sure."
    assert after_correction("\\boxed{42}. Actually, 43 is prime", ATOM) == "\\boxed{42}. Actually, 43 is prime"


def test_where_an_answer_stands():
    assert last_boxes("\\boxed{1}, \\boxed{\\frac{1}{2}} so \\boxed{3} or \\boxed{4}") == ["3", "4"]
    assert marked_answer("<answer>1</answer> <answer> 2 </answer>") == "2"
    assert marked_answer("#### 1\n#### 2\n") == "2"
    assert (marked_answer("2"), stated_answer("it is 2")) == (None, None)
    assert stated_answer("The answer is 1.\nThe result: 2 or so.\n3") == "2 or so."


def test_a_list_is_no_prose():
    assert is_enumeration(", ".join(map(str, range(200))))
    assert not is_enumeration("it is what it is, and so on and so forth " * 30)


NASTY = [
    "not ",
    "no, wait: ",
    "actually, ",
    "the answer is ",
    "42,",
    "1",
    "$",
    "\\boxed{",
    "\\boxed{1}",
    "{",
    "<answer>",
    "not 42 or ",
]
NASTY += ["every option ", "so it is ", "C or ", "New York ", "Michael, Zoey and ", "Michael is a knight, ", "1 / ", " ", "\n"]  # fmt: skip


@pytest.mark.parametrize("piece", NASTY)
@pytest.mark.parametrize("verifier", ["math", "numeric", "choice", "logic", "text"])
def test_long_texts_end(verifier: str, piece: str):
    """40,000 characters: what is quadratic takes minutes, what is exponential does not end."""
    gold = {"logic": TWO, "choice": "D"}.get(verifier, "-7")
    assert score(verifier, (piece * 40_000)[:40_000], gold, CITIES if verifier == "choice" else None) == 0.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*NASTY, "C", "42", "New York", "is wrong", "rather than ", "or ", "(", ") ", ". "])))
def test_any_text_can_be_judged(pieces: list[str]):
    text = "".join(pieces)
    for verifier, gold in (("math", "42"), ("numeric", "42"), ("choice", "C"), ("logic", TWO)):
        assert score(verifier, text, gold) in (0.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**5), st.integers(1, 50), st.sampled_from(["not {b} but {a}", "{b}? No, {a}.", "{a}, not {b}."])
)
def test_of_two_numbers_the_one_that_stands(a: int, more: int, dress: str):
    text = dress.format(a=a, b=a + more)
    assert score("numeric", text, str(a)) == 1.0
    assert score("numeric", text, str(a + more)) == 0.0


@pytest.mark.parametrize("name", ["numeric", "math", "logic", "text"])
def test_no_known_hack_scores_full(name: str):
    from rl.workbench.attacks import list_attempts, scores_full
    from rl.workbench.cases import from_gold

    module = importlib.import_module(f"rewards.verifiers.{name}")
    tried = list_attempts(from_gold(module.GOLD))
    full = [a for a in tried if scores_full(a, module.verify(a.rollout.prompt, a.rollout, **(a.case.args or {})))]
    assert [a.rollout.text for a in full] == []
    assert len(tried) > 100


def test_no_known_hack_scores_full_on_choice_but_for_rules_of_benchmarks():
    """MMAU's own rule sees words, and not what is said with them (docs/rewards.md)."""
    from rewards.verifiers.choice import GOLD, verify
    from rl.workbench.attacks import list_attempts, scores_full
    from rl.workbench.cases import from_gold

    tried = list_attempts(from_gold(GOLD))
    full = [a for a in tried if scores_full(a, verify(a.rollout.prompt, a.rollout, **(a.case.args or {})))]
    assert {(a.case.args or {})["rule"] for a in full} == {"mmau"}
    assert {a.attack for a in full} == {"negated", "thousand answers"}
