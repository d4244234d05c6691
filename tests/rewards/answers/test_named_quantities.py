"""Quantities that equations name, and units of currency signs."""

from __future__ import annotations

import pytest

from rewards.contract import Case
from rewards.verifiers import math


def score(pred: str, gold: str, question: str = "") -> float:
    rollout = Case(pred, gold, question=question).rollout()
    return math.verify(rollout.prompt, rollout).score


PRODUCTS = [
    "xy",
    "x y",
    "ab",
    "mn",
    "xyz",
    "abc",
    "x \\cdot y",
    "x\\times y",
    "x_1x_2",
    "x_{1} x_{2}",
    "\\alpha\\beta",
    "αβ",
    "x*y",
    "a^2b",
]


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_product_of_variables_is_another_quantity(product: str) -> None:
    assert score(f"\\boxed{{{product} = 6}}", "6") == 0.0
    assert score(f"The answer is ${product} = 6$.", "6") == 0.0
    assert score(f"\\boxed{{{product} = 6}}", "x = 6") == 0.0
    assert score("\\boxed{6}", f"{product} = 6") == 0.0, "it may be a curve"
    assert score(f"\\boxed{{{product} = 6}}", f"{product}=6") == 1.0
    for question in (f"Find ${product}$.", f"What is ${product} =$?"):
        assert score(f"\\boxed{{{product} = 6}}", "6", question) == 1.0, "the quantity that is asked for"
        assert score("\\boxed{6}", f"{product} = 6", question) == 1.0
    given = f"If ${product} = 6$ and the sum is 5, find the larger one."
    assert score(f"\\boxed{{{product} = 6}}", "6", given) == 0.0


@pytest.mark.parametrize(
    ("pred", "question"),
    [
        ("r_1 r_2 = 6", "Find the product of the roots."),
        ("rs = 6", "Find the product of the roots."),
        ("ab=6", "What is the product of a and b?"),
        ("lw = 6", "Find the area."),
        ("\\pi r^2 = 6", "find the area"),
    ],
)
def test_a_product_that_the_question_asks_for_in_words(pred: str, question: str) -> None:
    assert score(f"\\boxed{{{pred}}}", "6", question) == 1.0


@pytest.mark.parametrize(
    "question", ["Find xyz.", "In the galaxy of stars, find x.", "Find x^2y.", "Find xy^2.", "Find y."]
)
def test_another_quantity_in_the_question(question: str) -> None:
    assert score("\\boxed{xy = 6}", "6", question) == 0.0


@pytest.mark.parametrize(
    "name",
    [
        *(
            "x",
            "x_1",
            "\\alpha",
            "AB",
            "PQ",
            "|x|",
            "f(2)",
            "P(A)",
            "\\angle ABC",
            "m\\angle A",
            "ans",
            "area",
            "max",
            "sum",
        ),
        *(
            "the total cost",
            "so x",
            "\\text{Area}",
            "\\lim x",
            "\\sin x",
            "\\log x",
            "\\max",
            "k_{max}",
            "S_n",
            "x^2",
            "\\frac{x}{y}",
        ),
    ],
)
def test_a_name_is_none(name: str) -> None:
    assert score(f"\\boxed{{{name} = 6}}", "6") == 1.0


SAME_AMOUNT = [
    *(("\\boxed{\\$5}", gold) for gold in ("5", "\\$5", "5 dollars", "\\$5.00", "$5", "500 cents", "\\$5 per day")),
    *(
        (pred, "\\$5")
        for pred in (
            "\\boxed{5}",
            "\\boxed{5 \\text{ dollars}}",
            "\\boxed{500 cents}",
            "The answer is $5.",
            "It is \\$5!",
        )
    ),
    *(("\\boxed{€5}", gold) for gold in ("5", "5 euros", "€5.00")),
    *(("\\boxed{£5}", gold) for gold in ("5", "£5", "5 pounds")),
    ("\\boxed{\\$1,234.50}", "1234.5"),
    ("\\boxed{-\\$5}", "-5"),
    ("\\boxed{\\$5 \\text{ million}}", "5000000"),
    ("\\boxed{\\$5/\\text{hour}}", "5"),
    ("\\boxed{\\$0.05}", "5 cents"),
    ("\\boxed{\\text{\\$5}}", "5 dollars"),
    ("\\boxed{x = \\$5}", "\\$5"),
    ("$\\$18$", "18"),
    ("#### \\$18", "18"),
    ("She makes \\$18 every day.", "18"),
    ("\\boxed{18}", "\\$18 \\text{ per day}"),
    ("\\boxed{(\\$5, \\$7)}", "(5, 7)"),
    ("So 7 \\times \\$2 = \\$14.", "\\$14"),
    ("\\boxed{\\$5 \\text{ dollars}}", "5"),
    ("\\boxed{\\$5}", "5 \\text{ bucks}"),
    ("\\boxed{\\$2:\\$3}", "2:3"),
    ("\\boxed{\\text{A: \\$5, B: \\$6}}", "5,6"),
]


@pytest.mark.parametrize("degrees", ["12^{\\circ}", "12 degrees"])
def test_degrees_may_be_a_temperature_and_no_counted_noun(degrees: str) -> None:
    assert score(f"\\boxed{{{degrees}}}", "12 \\text{ C}") == 1.0
    assert score(f"\\boxed{{{degrees}}}", "12 apples") == 0.0


@pytest.mark.parametrize(("pred", "gold"), SAME_AMOUNT)
def test_the_same_amount_of_money(pred: str, gold: str) -> None:
    assert score(pred, gold) == 1.0


@pytest.mark.parametrize(
    ("pred", "gold"),
    [
        *(
            (f"\\boxed{{{pred}}}", "\\$5")
            for pred in ("5 euros", "€5", "₹5", "5¢", "5 cents", "5 kg", "5\\%", "5 apples", "\\$6")
        ),
        *(("\\boxed{\\$5}", gold) for gold in ("5 cents", "5 kg", "€5", "5\\%")),
        ("The answer is \\$5 or \\$6.", "\\$6"),
        ("between \\$5 and \\$6", "\\$6"),
        ("\\$5-\\$6", "\\$6"),
        ("at least \\$5.", "5"),
        ("\\boxed{\\$5} but \\boxed{\\$6}", "\\$5"),
    ],
)
def test_another_amount(pred: str, gold: str) -> None:
    assert score(pred, gold) == 0.0
