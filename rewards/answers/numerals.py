"""Writes digits of other conventions in the one that is read: 1.234,5 and 12,34,567 and 0,001, 120bpm, "20-ish", 三百."""

from __future__ import annotations

import re

_REWRITES = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"(?<![\w.,])0,(\d+)(?![\w,]|\.\d)", r"0.\1"),
        # 2 and 3/4: a mixed number
        (r"(?<![\w.,/])(\d+)\s+and\s+([1-9])/([2-9]|1\d)(?![\w/])", r"\1 \2/\3"),
        (r"(?<=\d)[-\s]?ish\b|(?<=[a-z])-ish\b|(?<=\d)\s+or\s+so\b(?!\s+(?:more|less))", ""),
        (r"(?<!the )(?<!mid)(?<!mid-)(?<![\w.,-])(\d+(?:\.\d+)?)(bpm|rpm|fps|s)\b", r"\1 \2"),
        (r"\bi\.\s?e\.", "that is"),
        (r"\be\.\s?g\.", "for example"),
    )
]
_THOUSANDS_MARK = [  # digits in groups, with (1) the decimals after the mark that is a decimal one
    re.compile(pattern)
    for pattern in (
        r"(?<![\w.,])\d{1,3}(?:\.\d{3})+(?:,(\d+))(?![\w,]|\.\d)",
        r"(?<![\w.,])\d{1,3}(?:\.\d{3}){2,}()(?![\w.]|,\d)",
        r"(?<![\w.,])\d{1,3}(?:[ '’\u00a0\u2009\u202f]\d{3})+[.,](\d+)(?![\w,]|\.\d)",
        r"(?<![\w.,])\d{1,2}(?:,\d{2})+,\d{3}(?:\.(\d+))?(?![\w,]|\.\d)",
    )
]
_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_SCALES = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_CJK = "".join((*_DIGITS, *_SCALES, *_MYRIADS))
_COUNTER = "[个個人次只隻声聲秒分条條位名种種下本枚匹回つ種台元块岁歳度天年月米]"
_CJK_RUN = re.compile(
    rf"(?<![\d第{_CJK}统唯万])(?<!\d\s)(?:[{_CJK}]{{1,20}}(?=\s*{_COUNTER}|\s*(?:[。.,，!！]|です|だ|$))|[{_CJK}]{{2,20}})(?![{_CJK}])"
)


def in_one_convention(text: str) -> str:
    """Return the text with its numbers in the convention of English, where there is no doubt how they are meant."""
    for pattern in _THOUSANDS_MARK:
        text = pattern.sub(_regroup, text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text if text.isascii() else _CJK_RUN.sub(lambda run: _of_cjk(run[0]), text)


def _regroup(number: re.Match[str]) -> str:
    """Return a number's digits without marks, with a point before its decimals."""
    decimals = number[1] or ""
    whole = number[0][: len(number[0]) - len(decimals)]
    digits = re.sub(r"\D", "", whole)
    return f"{digits}.{decimals}" if decimals else digits


def _of_cjk(run: str) -> str:
    """Return Chinese numerals as digits; a run that makes no number stays."""
    if not any(char in _SCALES or char in _MYRIADS for char in run):
        return "".join(str(_DIGITS[char]) for char in run) if len(run) == 1 else run
    total, section, digit = 0, 0, None
    for char in run:
        if char in _DIGITS:
            digit = _DIGITS[char]
        elif char in _SCALES:
            section += (1 if digit is None else digit) * _SCALES[char]
            digit = None
        else:
            section += digit or 0
            if not section:
                return run
            total, section, digit = (total + section) * _MYRIADS[char], 0, None
    return str(total + section + (digit or 0))
