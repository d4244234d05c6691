"""Reads dates, times of day, and durations of several parts."""

from __future__ import annotations

import re
from fractions import Fraction

from rewards.answers.arithmetic import evaluate
from rewards.answers.kinds import Duration, Moment
from rewards.answers.notation import WORD_MARK
from rewards.answers.units import read_unit
from rewards.answers.words import with_digits

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sept sep",
            "october oct",
            "november nov",
            "december dec",
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})",
        r"(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<day>\d{1,2})",
        r"(?P<year>\d{4})年(?P<month>\d{1,2})月(?P<day>\d{1,2})日?",
        r"(?P<month>\d{1,2})月(?P<day>\d{1,2})日",
        rf"(?:the\s+)?(?P<name>{_MONTH})\.?\s+(?:the\s+)?{_DAY}(?:,?\s+(?P<year>\d{{4}}))?",
        rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?(?P<name>{_MONTH})\.?,?(?:\s+(?P<year>\d{{4}}))?",
    )
]
_MONTH_NAME = "|".join(sorted((name.capitalize() for name in _MONTHS), key=len, reverse=True))
DATE_IN_TEXT = (
    rf"\b(?:{_MONTH_NAME})\.?\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s+\d{{4}})?"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTH_NAME})\b\.?,?(?:\s+\d{{4}})?"
)
"""Pattern of a date with a month's name in prose."""
_TIME = re.compile(
    r"(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?|(?P<bare>\d{1,2}))\s*"
    rf"(?P<half>{WORD_MARK}?[ap]\.?\s?m\.?)?",
    re.IGNORECASE,
)
_WEEKDAY = re.compile(r"^(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+(?=\w+\s+\d|\d)", re.IGNORECASE)
_PART = re.compile(
    rf"(?P<number>[\d.,/]+(?:\\frac\{{\d+\}}\{{\d+\}})?)\s*(?P<unit>{WORD_MARK}?(?:[a-zA-Z]+|小时|分钟?|秒钟?|天|周|星期|个月|月|年))"
    rf"(?:[\s,]|{WORD_MARK}?and(?![a-z])|和)*"
)


def read_moment(text: str) -> Moment | None:
    """Return the date or time of day that a plain text is, else None. A time needs seconds, or am or pm: `3:45` alone may be
    a ratio."""
    bare = _WEEKDAY.sub("", text.replace(WORD_MARK, "").strip())
    for pattern in _DATES:
        match = pattern.fullmatch(bare)
        if match:
            groups = match.groupdict()
            month = _MONTHS[groups["name"].lower()] if groups.get("name") else int(groups["month"])
            year = int(groups["year"]) if groups.get("year") else None
            day = int(match["day"])
            return Moment(text, (year, month, day)) if 1 <= month <= 12 and 1 <= day <= 31 else None
    return _read_time(text, bare)


def _read_time(text: str, bare: str) -> Moment | None:
    match = _TIME.fullmatch(bare)
    if match is None or not (match["half"] or match["second"]):
        return None
    hour, minute, second = int(match["hour"] or match["bare"]), int(match["minute"] or 0), int(match["second"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        # 12 am is midnight, and 12 pm noon.
        hour = hour % 12 + (12 if "p" in match["half"].lower() else 0)
    return Moment(text, minutes=Fraction(hour * 60 + minute) + Fraction(second, 60))


def read_duration(text: str) -> Duration | None:
    """Return the time of two or more parts that a plain text is ("3 h 30 min"), else None."""
    spelt = with_digits(text)
    seconds, position, count = Fraction(0), 0, 0
    while position < len(spelt):
        part = _PART.match(spelt, position)
        if part is None:
            return None
        value, unit = evaluate(part["number"].rstrip(",")), read_unit(" " + part["unit"])
        if (
            value is None
            or unit is None
            or dict(unit.dimensions) != {"time": 1}
            or not isinstance(value.real, Fraction)
        ):
            return None
        seconds += value.real * unit.size
        position, count = part.end(), count + 1
    return Duration(text, seconds) if count > 1 else None
