"""Asks math-verify, and sympy behind it, whether two formulas are equal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import math_verify

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
