"""Any text can be judged, and soon, however it is put together."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.answers.prose import find_answer
from rewards.answers.words import with_digits
from rewards.contract import Case
from rewards.verifiers.numeric import find_numbers


def score(verifier: str, pred: str, gold: str) -> float:
    rollout = Case(pred, gold).rollout()
    return importlib.import_module(f"rewards.verifiers.{verifier}").verify(rollout.prompt, rollout).score


PIECES = [
    "not ", "I don't think it is ", "if it were ", "is it ", "42", "42 ", "?", ". ", "\n", "- ", "| ", "$", "$ ", "(", ")", "{", "}", "\\boxed{", "or ",
    "or maybe ", "at least ", " or more", "half a ", "a dozen ", "twenty", "-one", " point ", "and a half ", "million ", "1.234", ",5", "12,34,567", "三百", "個",
    "ではありません", "✓", "।", "_", "**", "± ", "give or take ", "because ", "of the ", ": ", ", ", " is wrong", "The answer is ", "Explanation: ", "=> ",
    "\\frac{", "\\text{", "x = ", "\\begin{align}", "\\end{align}", "&", "\\\\", "<answer>", "</answer>", "#### ", "no, wait: ", "1/2", "0,", "3rd ",
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_prose_can_be_judged(pieces: list[str]):
    text = "".join(pieces)
    find_answer(text)
    find_answer(text, number_words=True)
    assert score("math", text, "42") in (0.0, 1.0)
    assert score("numeric", text, "42") in (0.0, 1.0)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("verifier", ["math", "numeric"])
def test_long_prose_ends(verifier: str, piece: str):
    assert score(verifier, (piece * 40_000)[:40_000], "-7") == 0.0


@pytest.mark.parametrize("verifier", ["math", "numeric"])
@pytest.mark.parametrize(
    "pred",
    [
        "\\boxed{10^{5000}}",
        "The answer is 1e5000.",
        "\\boxed{1e9999/3}",
        "9" + "亿" * 600,
        "The answer is 9" + "亿" * 3900,
        "\\boxed{9" + "亿" * 600 + "}",
        "1" + "0" * 400 + ".12345k",
        "The answer is " + "9" * 310 + " 1/3 million",
    ],
    ids=lambda pred: pred[:20],
)
def test_a_number_of_more_digits_than_python_writes_is_judged(verifier: str, pred: str):
    assert score(verifier, pred, "42") == 0.0
    assert score(verifier, pred, "9") == 0.0


def test_numbers_of_more_digits_than_python_writes_are_compared():
    assert score("math", "\\boxed{1e5000}", "10^{5000}") == 1.0
    assert score("math", "\\boxed{1e5000}", "10^{5001}") == 0.0
    assert score("math", "The answer is 9" + "亿" * 600 + ".", "9e4800") == 1.0


def test_loops_of_digits_and_of_number_words_are_no_error():
    for text in ("9" * 4500, "1/" + "9" * 4500, "\\frac{1}{" + "9" * 4500 + "}"):
        assert find_numbers(text) == []
    assert with_digits("hundred " * 5000) == "hundred " * 5000
    assert with_digits("9" * 4500 + " thirds") == f"\\frac{{{'9' * 4500}}}{{3}}"


@pytest.mark.parametrize("verifier", ["math", "numeric"])
@pytest.mark.parametrize("form", ["It could be {}.", "the number {}", "{},", "Option {}: {}.", "so {} then", "{} or "])
@pytest.mark.parametrize("last", [200, 48])
def test_every_number_is_no_answer(verifier: str, form: str, last: int):
    """One that names every number in turn, the right one among them, gives none."""
    numbers = [number for number in range(200) if number != last]
    text = " ".join(form.replace("{}", str(number)) for number in [*numbers, last])
    assert score(verifier, text, "48" if last != 48 else "47") == 0.0
