"""Asks math-verify, and sympy behind it, whether two formulas are equal."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import math_verify
import sympy
from latex2sympy2_extended import NormalizationConfig

# Timeouts are None, so that math-verify does not use SIGALRM: the pool's deadline also ends what a signal cannot
# interrupt.
_parse_expressions = cast(Callable[..., list[object]], math_verify.parse)
_expressions_equal = cast(Callable[..., bool], math_verify.verify)
# Only LaTeX is read: otherwise an expression that does not parse would be read as its first number. With `units` 1+2t
# would be read as 1+2.
_FORMS = (
    math_verify.LatexExtractionConfig(
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all"
        )
    ),
)
for _name in ("math_verify.parser", "math_verify.grader"):  # each would warn once that its timeouts are off
    logging.getLogger(_name).setLevel(logging.ERROR)


def algebra_equal(gold: str, pred: str) -> bool:
    """Return whether math-verify finds two formulas equal, each in LaTeX without delimiters."""
    if "\\ldots" in gold + pred:
        return "".join(gold.split()) == "".join(pred.split())  # math-verify would read on as if nothing were left out
    if _differ_in_case(gold, pred) or _is_beyond_reason(gold) or _is_beyond_reason(pred):
        return False
    if _expressions_equal(_parse(gold), _parse(pred), timeout_seconds=None):
        return True
    if not (_IMAGINARY.search(gold) or _IMAGINARY.search(pred)):
        return False
    a, b = _complex_value(gold), _complex_value(pred)
    return a is not None and b is not None and abs(a - b) <= 1e-12 * max(abs(a), abs(b))


_NAME = re.compile(r"\\[a-zA-Z]+|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])")


def _differ_in_case(gold: str, pred: str) -> bool:
    """Return whether two formulas name the same variables but for their case, which math-verify ignores: R is not r."""
    a, b = ({name for name in _NAME.findall(text) if name[0] != "\\"} for text in (gold, pred))
    return a != b and {name.lower() for name in a} == {name.lower() for name in b}


_IMAGINARY = re.compile(r"(?<![\\a-zA-Z])i(?![a-zA-Z])|\\sqrt\{-")
# numbers that sympy would write out: 9^{9^{9}}, 2^{100000}, 10000!
_HUGE = re.compile(
    r"\^\s*\{[-+\s\d{]*\d[\s}]*\^[\s{]*\d|\^\{[^{}^]*\^\{[^{}^]*\^\{|\^\s*\{?[^{}]*\d{5}|(?:\d{4}|[})])\s*!|[eE]\d{3}|!!"
)
_POWER_OF_SUM = re.compile(r"\)\s*\^\s*\{?(\d+)")
_LONGEST, _DEEPEST, _HIGHEST_POWERS = 1500, 25, 200


def _is_beyond_reason(formula: str) -> bool:
    """Return whether sympy would take minutes over a formula: only hostile answers are so."""
    if len(formula) > _LONGEST or _HUGE.search(formula):
        return True
    depth = deepest = 0
    for char in formula:
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(char, 0)
        deepest = max(deepest, depth)
    return deepest > _DEEPEST or sum(int(power) for power in _POWER_OF_SUM.findall(formula)) > _HIGHEST_POWERS


_LONG_POWER = re.compile(r"\d{4}|\^\{[^}]*(?:\^|\d{3})|!")  # beyond reason to evaluate
_MOST_CHARACTERS = 120


def _complex_value(formula: str) -> complex | None:
    """Return the value of a formula of numbers and i, else None."""
    if len(formula) > _MOST_CHARACTERS or _LONG_POWER.search(formula):
        return None
    expressions = _parse(formula)
    expression = expressions[0] if expressions else None
    if not isinstance(expression, sympy.Expr):
        return None
    # math-verify's i is a variable, of other assumptions than sympy's plain symbols
    units = [symbol for symbol in expression.free_symbols if str(symbol) == "i"]
    for unit in units:
        expression = cast(sympy.Expr, expression.subs(unit, cast(sympy.Expr, sympy.I)))
    if expression.free_symbols:
        return None
    number = expression.evalf(30)
    return complex(cast(complex, number)) if number.is_number and number.is_finite else None


@lru_cache(maxsize=256)  # a group's samples share their gold and often their answers
def _parse(formula: str) -> list[object]:
    return _parse_expressions(f"${formula}$", _FORMS, parsing_timeout=None)


def equations_equal(gold: tuple[str, str], pred: tuple[str, str], keeps_sign: bool = False) -> bool:
    """Return whether two equations, each given by its sides in LaTeX, say the same: one is a multiple of the other; for
    inequalities, which keep their sign, a positive multiple."""
    differences = [_parse(f"({left})-({right})") for left, right in (gold, pred)]
    if not all(differences):
        return False
    a, b = (difference[0] for difference in differences)
    # `b` is zero for `x = x`, of which everything is a multiple.
    if not isinstance(a, sympy.Expr) or not isinstance(b, sympy.Expr) or b.is_zero:
        return False
    if {str(symbol) for symbol in a.free_symbols} != {str(symbol) for symbol in b.free_symbols}:
        return False  # and sympy need not find that out
    ratio = sympy.simplify(a / b)
    return bool(ratio.is_number and ratio.is_finite and (ratio.is_positive if keeps_sign else not ratio.is_zero))
