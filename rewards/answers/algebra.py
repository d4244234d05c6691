"""Asks math-verify, and sympy behind it, whether two formulas are equal."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import math_verify
import sympy

# SIGALRM stays unused (timeouts None): the pool's deadline governs, also where a signal cannot interrupt.
_parse_expressions = cast(Callable[..., list[object]], math_verify.parse)
_expressions_equal = cast(Callable[..., bool], math_verify.verify)
_FORMS = (
    math_verify.LatexExtractionConfig(),
)  # an expression that does not parse must not be read as its first number
for _name in ("math_verify.parser", "math_verify.grader"):  # each would warn once that its timeouts are off
    logging.getLogger(_name).setLevel(logging.ERROR)


def algebra_equal(gold: str, pred: str) -> bool:
    """Return whether math-verify finds two formulas equal, each in LaTeX without delimiters."""
    if "\\ldots" in gold + pred:
        return "".join(gold.split()) == "".join(pred.split())  # math-verify would read on as if nothing were left out
    if _expressions_equal(_parse(gold), _parse(pred), timeout_seconds=None):
        return True
    if not (_IMAGINARY.search(gold) or _IMAGINARY.search(pred)):
        return False
    a, b = _complex_value(gold), _complex_value(pred)
    return a is not None and b is not None and abs(a - b) <= 1e-12 * max(abs(a), abs(b))


_IMAGINARY = re.compile(r"(?<![\\a-zA-Z])i(?![a-zA-Z])|\\sqrt\{-")
_LONG_POWER = re.compile(r"\d{4}|\^\{[^}]*(?:\^|\d{3})|!")  # beyond reason to evaluate
_MOST_CHARACTERS = 120


def _complex_value(formula: str) -> complex | None:
    """Return the value of a formula of numbers and i, else None."""
    if len(formula) > _MOST_CHARACTERS or _LONG_POWER.search(formula):
        return None
    parsed = _parse(formula)
    expression = parsed[0] if parsed else None
    if not isinstance(expression, sympy.Expr):
        return None
    units = [symbol for symbol in expression.free_symbols if symbol.name == "i"]  # math-verify's i has assumptions
    value = expression.subs({unit: sympy.I for unit in units})
    if value.free_symbols:
        return None
    number = value.evalf(30)
    return complex(number) if number.is_number and number.is_finite else None


@lru_cache(maxsize=256)  # a group's samples share their gold and often their answers
def _parse(formula: str) -> list[object]:
    return _parse_expressions(f"${formula}$", _FORMS, parsing_timeout=None)


def equations_equal(gold: tuple[str, str], pred: tuple[str, str]) -> bool:
    """Return whether two equations, each given by its sides in LaTeX, say the same: one is a multiple of the other."""
    differences = [_parse(f"({left})-({right})") for left, right in (gold, pred)]
    if not all(differences):
        return False
    a, b = (difference[0] for difference in differences)
    if not isinstance(a, sympy.Expr) or not isinstance(b, sympy.Expr) or b.is_zero:
        return False
    ratio = sympy.simplify(a / b)
    return bool(ratio.is_number and ratio.is_finite and not ratio.is_zero)
