"""Judges whether two numbers, quantities, times or ratios are equal: all that is compared without algebra."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from rewards.answers.kinds import Answer, Duration, Moment, Number, Policy, Series
from rewards.answers.units import CURRENCIES, PERCENT, Unit, same_kind
from rewards.answers.values import DIVISION, PRODUCT, Value, same_value


def numbers_equal(gold: Number, pred: Number, policy: Policy) -> bool:
    # A product is refused only where its numbers repeat those of the question (`rewards.answers.repeats`).
    undone = pred.value.undone - gold.value.undone - {PRODUCT}
    if gold.value.undone:
        undone -= {DIVISION}  # beside \frac{2^{100}-1}{3} also (2^{100}-1)/3
    if undone and policy.unevaluated == "refuse":
        return False
    if _is_price(gold.unit, pred.unit) or _is_price(pred.unit, gold.unit):
        return same_value(gold.value, pred.value)
    if not same_kind(gold.unit, pred.unit):
        return _percent_equal(gold, pred)
    if policy.units == "required" and dict(gold.unit.dimensions) and pred.unit.is_empty:
        return False
    if gold.unit.dimensions and pred.unit.dimensions and gold.unit != pred.unit:
        return same_value(_in_base_units(gold), _in_base_units(pred))
    return same_value(gold.value, pred.value) or _percent_equal(gold, pred)


def _is_price(price: Unit, amount: Unit) -> bool:
    """Return whether one unit is money for something, `dollars per day`, and the other that money alone: a `\\$18` may leave
    out what for, as an 18 may leave out all."""
    rest = {name: n for name, n in price.dimensions.items() if name not in amount.dimensions}
    is_money = len(amount.dimensions) == 1 and set(amount.dimensions) <= CURRENCIES
    return (
        is_money and {**amount.dimensions, **rest} == dict(price.dimensions) and bool(rest) and max(rest.values()) < 0
    )


def _percent_equal(gold: Number, pred: Number) -> bool:
    """Return whether one of two numbers is a percentage that equals the other as a share: 28 % and 0.28."""
    is_percentage = [dict(number.unit.dimensions) == dict(PERCENT.dimensions) for number in (gold, pred)]
    if sum(is_percentage) != 1 or not (gold.unit.is_empty or pred.unit.is_empty):
        return False
    a, b = (
        _scale(n.value, Fraction(1, 100)) if p else n.value for n, p in zip((gold, pred), is_percentage, strict=True)
    )
    return same_value(a, b)


def _in_base_units(number: Number) -> Value:
    return _scale(number.value, number.unit.size)


def _scale(value: Value, factor: Fraction) -> Value:
    real = (
        value.real * factor if isinstance(value.real, Fraction) else value.real * factor.numerator / factor.denominator
    )  # type: ignore[operator]
    return replace(value, real=real)


def ratio_value_equal(number: Number, ratio: Series) -> bool:
    a, b = (item.value.real for item in ratio.items if isinstance(item, Number))
    # A second part that begins with 0, as in 12:05, is minutes: no value of a ratio.
    if not isinstance(a, Fraction) or not isinstance(b, Fraction) or not b or ratio.items[1].text.startswith("0"):
        return False
    return number.unit.is_empty and same_value(number.value, Value(a / b))


def moments_equal(gold: Moment, pred: Moment, policy: Policy) -> bool:
    if (gold.date is None) != (pred.date is None) or gold.minutes != pred.minutes:
        return False
    if gold.date is None or pred.date is None:
        return True
    # The answer may say a year that the gold leaves out, but leave out none that it says.
    year_fits = gold.date[0] is None or gold.date[0] == pred.date[0]
    return year_fits and gold.date[1:] == pred.date[1:]


def moment_and_ratio_equal(gold: Answer, pred: Answer, policy: Policy) -> bool:
    moment, ratio = (gold, pred) if isinstance(gold, Moment) else (pred, gold)
    assert isinstance(moment, Moment)
    assert isinstance(ratio, Series)
    if moment.minutes is None or ratio.opening != ":" or len(ratio.items) != 2 or policy.units == "required":
        return False
    hour, minute = (item.value.real for item in ratio.items if isinstance(item, Number))
    # 720 minutes are half a day: `3:30` says neither am nor pm, and fits both.
    return (hour * 60 + minute - moment.minutes) % 720 == 0  # type: ignore[operator]


def durations_equal(gold: Answer, pred: Answer, policy: Policy) -> bool:
    seconds = [_seconds(answer) for answer in (gold, pred)]
    return seconds[0] is not None and seconds[0] == seconds[1]


def _seconds(answer: Answer) -> Fraction | None:
    if isinstance(answer, Duration):
        return answer.seconds
    if isinstance(answer, Number) and dict(answer.unit.dimensions) == {"time": 1}:
        return answer.value.real * answer.unit.size if isinstance(answer.value.real, Fraction) else None
    return None


def ratios_equal(gold: Series, pred: Series) -> bool:
    a, b = ([item.value.real for item in series.items if isinstance(item, Number)] for series in (gold, pred))
    if len(a) != len(b):
        return False
    if any(not x for x in (*a, *b)) or any(item.text.startswith("0") for item in (*gold.items, *pred.items)):
        return a == b  # a time of day: 12:00 is not 1:00
    return all(x * b[0] == y * a[0] for x, y in zip(a, b, strict=True))  # type: ignore[operator]
