"""Values of arithmetic: exact where they are rational, with the work that is left undone."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.answers.arithmetic import evaluate, evaluate_prefix
from rewards.answers.notation import plain
from rewards.answers.values import DIVISION, FACTORIAL, FUNCTION, PADDING, POWER, PRODUCT, SUM, Value, same_value


def value(text: str) -> Value:
    result = evaluate(plain(text))
    assert result is not None, text
    return result


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("42", Fraction(42)),
        (".185", Fraction(185, 1000)),
        ("1,234.5", Fraction(2469, 2)),
        ("1{,}234", Fraction(1234)),
        ("12,\\!000", Fraction(12000)),
        ("1 234 567", Fraction(1234567)),
        ("1'000", Fraction(1000)),
        ("1_000", Fraction(1000)),
        ("−5", Fraction(-5)),
        ("１２３", Fraction(123)),
        ("1.2e3", Fraction(1200)),
        ("1e-05", Fraction(1, 100_000)),
        ("3\\times 10^{20}", Fraction(3 * 10**20)),
        ("1.2×10⁻³", Fraction(12, 10_000)),
        ("\\frac12", Fraction(1, 2)),
        ("\\frac1{72}", Fraction(1, 72)),
        ("\\dfrac{-1}{2}", Fraction(-1, 2)),
        ("-1\\frac{1}{2}", Fraction(-3, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("2½", Fraction(5, 2)),
        ("0.\\overline{3}", Fraction(1, 3)),
        ("0.1\\overline{6}", Fraction(1, 6)),
        ("\\sqrt{16}", Fraction(4)),
        ("\\sqrt[3]{8}", Fraction(2)),
        ("\\frac{\\frac12}{\\frac34}", Fraction(2, 3)),
        ("2(3)", Fraction(6)),
        ("\\binom{5}{2}", Fraction(10)),
        ("8^{1/3}", Fraction(2)),
        ("\\log_2 8", Fraction(3)),
        ("\\sin 30^\\circ", Fraction(1, 2)),
    ],
)
def test_rational_values_are_exact(text: str, real: Fraction):
    assert value(text).real == real


@pytest.mark.parametrize(
    ("text", "real"),
    [
        ("4√2", 4 * math.sqrt(2)),
        ("-2*pi", -2 * math.pi),
        ("\\frac94\\pi", 9 / 4 * math.pi),
        ("-1+exp(16)", math.exp(16) - 1),
        ("\\frac{1+\\sqrt5}{2}", (1 + math.sqrt(5)) / 2),
        ("\\ln 2", math.log(2)),
        ("3e^2", 3 * math.e**2),
        ("2^{1/2}", math.sqrt(2)),
    ],
)
def test_irrational_values(text: str, real: float):
    assert not value(text).is_rational
    assert float(value(text)) == pytest.approx(real, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "undone"),
    [
        ("3/4", set()),
        ("\\sqrt{2}", set()),
        ("2\\pi", set()),
        ("1+\\sqrt{2}", set()),
        ("10^{-3}", set()),
        ("1 \\times 10^3", set()),
        ("\\frac33", set()),
        ("49+26", {SUM}),
        ("75+0", {SUM}),
        ("2^5", {POWER}),
        ("5!", {FACTORIAL}),
        ("3·4", {PRODUCT}),
        ("75*1", {PRODUCT, PADDING}),
        ("75/1", {PADDING, DIVISION}),
        ("150/2", {DIVISION}),
        ("\\frac{75}{1}", {PADDING}),
        ("\\log_2 8", {FUNCTION}),
        ("2^3+1", {POWER, SUM}),
    ],
)
def test_the_work_that_a_notation_leaves(text: str, undone: set[str]):
    assert value(text).undone == undone


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "3x",
        "2 3",
        "3 \\pm 2",
        "1/0",
        "\\sqrt{-1}",
        "0^{-1}",
        "10^{10^{10^{10}}}",
        "\\log 8",
        "\\log_{-2} 8",
        "1.2.3",
        "-",
        "(",
    ],
)
def test_what_is_no_number_has_no_value(text: str):
    assert evaluate(plain(text)) is None


def test_a_number_ends_where_something_else_begins():
    number, end = evaluate_prefix("5 km/h")
    assert (number and number.real, "5 km/h"[end:]) == (5, " km/h")


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("\\frac{1}{2006!}", "\\frac{1}{2004!}", False),
        ("\\frac{1}{2^{60}}", "\\frac{1}{2^{90}}", False),
        ("9.11\\times 10^{-31}", "1.6\\times 10^{-19}", False),
        ("e^{-50}", "e^{-60}", False),
        ("0.333333", "\\frac13", True),
        ("0.3333", "\\frac13", False),
        ("0.0333333", "\\frac{1}{30}", True),
        ("0.03333", "\\frac{1}{30}", False),
        ("3.14159265", "\\pi", True),
        ("3.14", "\\pi", False),
        ("0.0000001", "0", False),
        ("2.9999999", "3", False),
        ("\\frac{\\sqrt2}{2}", "\\frac{1}{\\sqrt2}", True),
        ("2^{100000000000}", "2^{100000000001}", False),
    ],
)
def test_equal_values(a: str, b: str, equal: bool):
    assert same_value(value(a), value(b)) == equal == same_value(value(b), value(a))


@settings(deadline=None)
@given(st.fractions(-(10**6), 10**6, max_denominator=10**4), st.fractions(-(10**6), 10**6, max_denominator=10**4))
def test_arithmetic_agrees_with_fractions(a: Fraction, b: Fraction):
    texts = [f"(\\frac{{{x.numerator}}}{{{x.denominator}}})" for x in (a, b)]
    assert value("+".join(texts)).real == a + b
    assert value("-".join(texts)).real == a - b
    assert value("\\cdot ".join(texts)).real == a * b


@settings(deadline=None)
@given(st.text("0123456789+-*/^!(){}.,eπ√ \\", max_size=40))
def test_any_text_has_a_value_or_none(text: str):
    result = evaluate(plain(text))
    assert result is None or same_value(result, result)
