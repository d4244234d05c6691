"""Asks math-verify, and sympy behind it, whether two formulas are equal."""

from __future__ import annotations

import logging
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
    return _expressions_equal(_parse(gold), _parse(pred), timeout_seconds=None)


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
