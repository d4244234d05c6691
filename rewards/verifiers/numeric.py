"""A number within a tolerance, in any notation: digits, thousands, powers of ten, fractions, roots, multiples of π, words."""

from __future__ import annotations

import math
import re

from rewards.answers.chains import single_number
from rewards.answers.grammar import read_decimal_comma, read_number, read_plain
from rewards.answers.kinds import Answer, Duration, Number, Relation, Series
from rewards.answers.notation import plain
from rewards.answers.prose import find_answer, phrases
from rewards.answers.repeats import repeats_question
from rewards.answers.words import with_digits
from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_PLUS_MINUS = re.compile(r"\\pm(?![a-z])")


def verify(
    prompt: Prompt, rollout: Rollout, *, absolute: float = 0.0, relative: float = 1e-6, percent: bool = False
) -> Verdict:
    """Score 1.0 where the response's number differs from the gold by at most max(absolute, relative · |gold|), else 0.0.

    The number is the one in the last \\boxed{}, <answer> or ####, or after "the answer is", or else the last of the
    response, read as `math` reads it, with number words. Several side by side, a range or a bound ("at least 120") are no
    answer; of `120 ± 5` the 120 counts; a number that is denied ("not 120") or taken back ("no, wait") does not, nor does
    a calculation that is left to be worked out (`49+26`, `2^5`) or an expression of the question. A unit is read over;
    magnitudes count ("5 thousand" is 5000). With `percent`, 50 % is 0.5; without, the sign is a unit like any other.
    Raises ValueError where the gold is no number.
    """
    if absolute < 0 or relative < 0:
        raise ValueError(f"numeric: absolute and relative must not be negative; got {absolute:g} and {relative:g}")
    gold = extract_number(prompt.answer or "", percent)
    if gold is None:
        raise ValueError(f"prompt '{prompt.id}': the answer {prompt.answer!r} is not one number")
    pred = _read(rollout.response)
    number = None if pred is None else _value(pred, percent)
    if pred is not None and repeats_question(pred, prompt.answer or "", prompt.question, digits_may=True):
        return Verdict(reason=f"repeats the question: '{pred.text[-100:]}'")
    if number is None:
        return Verdict(reason="no number, or several side by side")
    close = abs(number - gold) <= max(absolute, relative * abs(gold))
    return Verdict(float(close), reason="" if close else f"read {number:g}", read=repr(number))


def extract_number(response: str, percent: bool = False) -> float | None:
    """Return the one number that a response gives as its answer: the last that it does not deny or take back. None where
    there is none, or several stand side by side."""
    pred = _read(response)
    return None if pred is None else _value(pred, percent)


def _read(response: str) -> Answer | None:
    span = find_answer(response, number_words=True)
    return read_plain(span.text) if span.text else None


def find_numbers(text: str, percent: bool = False) -> list[float]:
    """Return every number in a text, in order."""
    prose = with_digits(plain(text))
    numbers: list[float] = []
    for start, end in phrases(prose):
        answer = read_plain(prose[start:end])
        for item in answer.items if isinstance(answer, Series) else (answer,):
            value = _value(item, percent)
            numbers += [] if value is None else [value]
    return numbers


def _value(answer: Answer, percent: bool) -> float | None:
    """Return the number that an answer comes to, None where it comes to none or to several."""
    if isinstance(answer, Series):
        return _center(answer, percent)
    if isinstance(answer, Relation):
        return _last_side(answer, percent)
    # Of hours and minutes neither is the one number that is asked for.
    if isinstance(answer, Duration):
        return None
    if not isinstance(answer, Number) or answer.value.undone:
        return None  # 49+26 is left to be worked out
    value = float(answer.value)
    is_percentage = "percent" in answer.unit.dimensions
    value = value / 100 if percent and is_percentage else value
    return value if math.isfinite(value) else None


def _center(series: Series, percent: bool) -> float | None:
    """Return the measured value of `120 \\pm 5` or the only item of a series; None for any other, a ratio too."""
    single = single_number(series)
    if single is not None:
        return _value(single, percent)
    if len(series.items) == 1:
        return _value(series.items[0], percent)
    comma = read_decimal_comma(series.text)
    if comma is not None:
        return _value(comma, percent)
    measured = _PLUS_MINUS.split(series.text)
    if len(measured) == 2 and measured[0].strip() and not series.opening:
        return _value(read_plain(measured[0]), percent)
    return None


def _last_side(relation: Relation, percent: bool) -> float | None:
    if not set(relation.operators) <= {"=", "\\approx"}:
        return None
    number = read_number(relation.sides[-1])
    return None if number is None else _value(number, percent)


_CLOSE = {"relative": 0.05, "absolute": 0.0}
GOLD = [
    Case("The pitch is about 120 Hz.", "120"),
    Case("<think>440?</think>It is 118.5 Hz", "120", args=_CLOSE),
    Case("\\boxed{1{,}234.5}", "1234.5"),
    Case("3/4", "0.75"),
    Case("$\\frac{3}{4}$", "0.75"),
    Case("1.2 × 10^3", "1200"),
    Case("-5e-1", "-0.5"),
    Case("I hear three beats.", "3"),
    Case("twenty-one", "21"),
    Case("120 ± 5", "120"),
    Case("50%", "0.5", args={"percent": True}),
    Case("50 %", "50", args={"percent": False}),
    Case("The answer is 7, because 3 + 4 = 7.", "7"),
    Case("130 Hz", "120", equal=False, args=_CLOSE),
    Case("119, 120", "120", equal=False),
    Case("119 or 120", "120", equal=False),
    Case("The answer is 70 + 50.", "120", equal=False),
    Case("119-121", "121", equal=False),
    Case("at least 120", "120", equal=False),
    Case("-120", "120", equal=False, args=_CLOSE),
    Case("12", "120", equal=False, args=_CLOSE),
    Case("", "0", equal=False),
    Case("<think>120", "120", equal=False),
    Case("none", "0", equal=False),
]
