"""Writes number words as digits: "twenty-one" is 21, "three quarters" 3/4, "5 thousand" 5000, "minus 5" -5."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from rewards.answers.notation import WORD_MARK

_SMALL = {
    name: value
    for value, name in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    name: value
    for value, name in zip(
        range(20, 100, 10), ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], strict=True
    )
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SINGULAR_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
    "twelfth": 12,
    "twentieth": 20,
    "hundredth": 100,
    "thousandth": 1000,
}
_PARTS = {**_SINGULAR_PARTS, **{f"{name}s": value for name, value in _SINGULAR_PARTS.items() if value > 2}}

_ONES = "|".join(sorted((*_SMALL, *_TENS), key=len, reverse=True))
_SCALE = "|".join(("hundred", *_SCALES))
_PART = "|".join(sorted(_PARTS, key=len, reverse=True))
_WORD = rf"(?:{_ONES}|{_SCALE})"
_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_FRACTION_WORDS = rf"(?:(?P<top>{_ONES}|an?|\d+)[\s-]+)?(?P<part>{_PART})"
_AFTER_SCALE = "(?:" + "|".join(f"(?<={name})" for name in ("hundred", *_SCALES)) + ")"
_RUN = re.compile(
    rf"(?<![\w-])(?:{_ONES}|a\s+(?:{_SCALE}))(?:(?:[\s-]+|{_AFTER_SCALE}(?:,\s+(?=(?:{_ONES})\s+hundred\s+and\s)|\s+and\s+)){_WORD})*(?!\w)",
    re.IGNORECASE,
)
# "no one", "the first one", "one another": a pronoun
_PRONOUN = re.compile(
    r"\b(?:(?:no|any|every|some|the|this|that|which|each|another|other|first|second|third|last|next|previous|former|latter|correct|right|wrong|same)"
    r"[\s-]+one(?![\s-]+(?:hundred|thousand|million|billion|half|third|quarter|fourth|fifth|point|and|over)\b)"
    r"|one\s+(?:another|by\s+one|can|could|must|should|may|might|would|has\s+to|needs\s+to|gets|sees))\b",
    re.IGNORECASE,
)
_DOZEN = re.compile(
    r"(?<![\w-])(?P<half>half(?:\s+a|-a)?[\s-]+)?(?:(?<=half )|(?<=half-)|(?<=half a )|(?<=half-a-)|a\s+|one\s+)dozen\b",
    re.IGNORECASE,
)
_HALF_SCALE = re.compile(rf"(?<![\w-])half\s+an?\s+(?P<scale>{_SCALE})\b", re.IGNORECASE)
# "2 hours and a half", "a million and a half"
_NOUN_AND_HALF = re.compile(
    r"(?<![\w.,-])(?P<count>an?|\d+)\s+(?P<noun>[a-z]+)\s+and\s+a\s+(?P<part>half|quarter)\b", re.IGNORECASE
)
_MIXED_SCALE = re.compile(
    rf"(?<![\w.,/])(?P<whole>\d*)\s*(?:\\frac\{{(?P<top>\d+)\}}\{{(?P<bottom>\d+)\}}|(?P<a>(?<!\d)\d+)/(?P<b>\d+))\s*(?P<scale>{_SCALE})s?\b",
    re.IGNORECASE,
)
_AND_PART = re.compile(rf"\s+and\s+{_FRACTION_WORDS}(?!\w)", re.IGNORECASE)
_OF_PART = re.compile(rf"(?<![\w-])(?P<top>{_ONES}|an?|\d+)[\s-]+(?P<part>{_PART})(?![\w])", re.IGNORECASE)
_LONE_HALF = re.compile(r"(?<![\w-])half(?=\s*(?:$|[.,;!?]))", re.IGNORECASE)
_POINT = re.compile(rf"(?:(?<=\w)\s+|^|(?<=\bis\s))point\s+((?:(?:{'|'.join(_SMALL)})\b\s*)+)", re.IGNORECASE)
_DIGITS_AND_PART = re.compile(rf"(?<![\w.])(\d+){_AND_PART.pattern}", re.IGNORECASE)
_MAGNITUDE = re.compile(
    rf"(?<![\w.,])(?P<digits>{_DIGITS})(?:\s*(?P<cjk>[万萬億亿千百]+)(?![克米瓦卡])|\s?(?P<k>[kK])(?![\w/^{{²³]|\s*[-+=<>*])|\s?(?P<m>[MB]|bn|mn)(?![\w/^{{]|\s*[-+=<>*])"
    rf"|[\s-]*{WORD_MARK}?(?P<name>(?i:hundred|dozen|{'|'.join(_SCALES)}))s?(?!\w))"
)
_SIGN = re.compile(rf"(?<!\w){WORD_MARK}?(?:minus|negative)\s+(?=\.?\d|\\(?:frac|sqrt|pi))", re.IGNORECASE)
_STRAY_MARK = re.compile(rf"{WORD_MARK}(?![^\W\d_])")
_CJK = {"百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_LETTERS = {"k": 10**3, "m": 10**6, "mn": 10**6, "b": 10**9, "bn": 10**9}
_LONGEST = 4000  # digits of a number that is read or written out: Python refuses more than 4300


def with_digits(text: str) -> str:
    """Return the text with its number words written as digits, and magnitudes and signs in words taken into the number."""
    text = _POINT.sub(
        lambda match: ".".join(("", "".join(str(_SMALL[w.lower()]) for w in match[1].split()))) + " ", text
    )
    text = _HALF_SCALE.sub(
        lambda match: str(_scale(match["scale"]) // 2), _DOZEN.sub(lambda m: "6" if m["half"] else "12", text)
    )
    text = _PRONOUN.sub(lambda match: match[0].replace("one", "person").replace("One", "Person"), text)
    # Before the words become digits, which would take "a million" from "a million and a half"; and again behind that,
    # for "two hours and a half".
    text = _MIXED_SCALE.sub(_write_scaled, _NOUN_AND_HALF.sub(_noun_and_half, text))
    text = _write_magnitudes(_RUN.sub(_digits_of_run, text))
    text = _MIXED_SCALE.sub(_write_scaled, _NOUN_AND_HALF.sub(_noun_and_half, text))
    text = _DIGITS_AND_PART.sub(lambda match: f"{match[1]}{_fraction(match)}", text)
    text = _MIXED_SCALE.sub(_write_scaled, _OF_PART.sub(_fraction, text))
    return _SIGN.sub("-", _STRAY_MARK.sub("", _LONE_HALF.sub("1/2", text)))


def with_magnitudes(text: str) -> str:
    """Return the text with "5 thousand", "5k" and "5万" written out, and "minus 5" as -5."""
    return _SIGN.sub("-", _write_magnitudes(text))


def _write_magnitudes(text: str) -> str:
    for _ in range(2):  # "5 hundred thousand"
        text = _MAGNITUDE.sub(_written_out, text)
    return text


def _scale(name: str) -> int:
    return 100 if name.lower() == "hundred" else _SCALES[name.lower()]


def _write_scaled(match: re.Match[str]) -> str:
    """Return "1½ million" in digits."""
    if len(match[0]) > _LONGEST:
        return match[0]
    bottom = int(match["bottom"] or match["b"])
    if not bottom or (match["whole"] and match["a"] and not match["whole"].strip()):
        return match[0]
    value = (int(match["whole"] or 0) + Fraction(int(match["top"] or match["a"]), bottom)) * _scale(match["scale"])
    return _in_digits(value)


def _noun_and_half(match: re.Match[str]) -> str:
    """Return "2 hours and a half" as 2.5 hours."""
    noun, part = match["noun"].lower(), Fraction(1, 2 if match["part"].lower() == "half" else 4)
    if noun in _PARTS or noun in _SMALL or noun in _TENS or len(match[0]) > _LONGEST:
        return match[0]
    count = int(match["count"]) if match["count"].isdigit() else 1
    value = (count + part) * (_scale(noun) if noun == "hundred" or noun in _SCALES else 1)
    number = _in_digits(value)
    return number if noun == "hundred" or noun in _SCALES else f"{number} {match['noun']}"


def _fraction(match: re.Match[str]) -> str:
    top = (match["top"] or "1").lower()
    value = top if top.isdigit() else _SMALL.get(top, _TENS.get(top, 1))
    return f"\\frac{{{value}}}{{{_PARTS[match['part'].lower()]}}}"


def _digits_of_run(match: re.Match[str]) -> str:
    """Return a run of number words in digits. Words that make no single number ("one two three") stay several."""
    if len(match[0]) > _LONGEST:  # a loop of "hundred"
        return match[0]
    numbers: list[int] = []
    total, current, last = 0, 0, ""
    has_number = False
    for word in re.split(r"[\s,-]+", match[0].lower()):
        if word == "and":
            continue
        if word == "a":
            word = "one"
        if word == "hundred":
            current, has_number = (current or 1) * 100, True
        elif word in _SCALES:
            total, current, has_number = total + (current or 1) * _SCALES[word], 0, True
        else:
            value = _SMALL.get(word, _TENS.get(word, 0))
            fits = not has_number or last in ("hundred", *_SCALES) or (last in _TENS and 0 < value < 10)
            if not fits:
                numbers.append(total + current)
                total, current = 0, 0
            current, has_number = current + value, True
        last = word
    numbers.append(total + current)
    # separate numbers stay apart by commas, so that they read as several
    return ", ".join(map(str, numbers))


def _written_out(match: re.Match[str]) -> str:
    factor = 1
    for char in match["cjk"] or "":
        factor *= _CJK[char]
    letter = (match["k"] or match["m"] or "").lower()
    name = (match["name"] or "").lower()
    factor *= _LETTERS.get(letter, 1) * {"hundred": 100, "dozen": 12, **_SCALES}.get(name, 1)
    digits, zeros = match["digits"].replace(",", ""), round(math.log10(factor))
    if len(digits) + zeros > _LONGEST:  # a loop of 亿
        return f"{digits}e{min(zeros, 9999)}"
    return _in_digits(Fraction(digits) * factor)


def _in_digits(value: Fraction) -> str:
    """Return a value in digits; of a fraction beyond all floats the nearest integer."""
    if value.denominator == 1 or value > 10**300:
        return str(round(value))
    return f"{float(value):.15g}"
