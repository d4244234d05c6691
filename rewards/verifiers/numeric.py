"""A number within a tolerance, in any notation: digits, thousands, powers of ten, fractions, percent, small numbers in words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rewards.answers import BOX_ATOM, NUMBER_ATOM, TAG_ATOM, drop_retracted, marked_answer, stated_answer
from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_WORDS: Sequence[str] = _NAMES.split()  # each at the index that is its value
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+−]?)\s?(?:(?P<top>\d+)\s?/\s?(?P<bottom>\d+)(?![\d.])|"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:(?:[eE]|\s?[×x*]\s?10\s?\^?\s?\{?)(?P<power>[-+−]?\d{1,3})\}?)?)"
    r"\s?(?P<percent>%|\\%|percent\b)?|\b(?P<word>" + "|".join(sorted(_WORDS, key=len, reverse=True)) + r")\b",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}")
_UNEQUAL = re.compile(r"≠|\\neq?(?![a-z])|\\not\s*=|!=")
_THOUSANDS_MARK = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\!)(?=\d)")
# between two numbers that are guesses side by side: "119 or 120", "119, perhaps 120"
_CHOICE = re.compile(
    r"\s*(?:[^\W\d_]+\s*,?\s*(?=\bor\b))?(?:,|;|/|\bor\b|\band\b|\||\s)*\s*(?:maybe|perhaps|about)?\s*", re.IGNORECASE
)
_ATOM = rf"{BOX_ATOM}|{TAG_ATOM}|{NUMBER_ATOM}|\b(?i:{'|'.join(_WORDS)})\b"
_LONGEST = 4000  # characters of a response in which an unmarked answer is looked for, from the end


def verify(
    prompt: Prompt, rollout: Rollout, *, absolute: float = 0.0, relative: float = 1e-6, percent: bool = False
) -> Verdict:
    """Score 1.0 where the response's number differs from the gold by at most max(absolute, relative · |gold|), else 0.0.

    The number is the one in the last \\boxed{}, <answer> or ####, or after "the answer is", or else the last of the
    response. Several side by side are a list of guesses and no answer; one that is denied ("not 120") or taken back ("no,
    wait") does not count. With `percent`, 50 % is 0.5; without, the sign is a unit like any other. Raises ValueError where
    the gold is no number.
    """
    if absolute < 0 or relative < 0:
        raise ValueError(f"numeric: absolute and relative must not be negative; got {absolute:g} and {relative:g}")
    golds = find_numbers(prompt.answer or "", percent)
    if len(golds) != 1:
        raise ValueError(f"prompt '{prompt.id}': the answer {prompt.answer!r} is not one number")
    number = extract_number(rollout.response, percent)
    if number is None:
        return Verdict(reason="no number, or several side by side")
    close = abs(number - golds[0]) <= max(absolute, relative * abs(golds[0]))
    return Verdict(float(close), reason="" if close else f"read {number:g}", read=repr(number))


def extract_number(response: str, percent: bool = False) -> float | None:
    """Return the one number that a response gives as its answer: the last that it does not deny or take back. None where
    there is none, or several stand side by side."""
    text = drop_retracted(_simplify(response), _ATOM)
    marked_text, stated_text = marked_answer(text), stated_answer(text[-_LONGEST:])
    if marked_text is not None:
        answer, takes_first = marked_text, False
    elif stated_text is not None:
        answer, takes_first = stated_text, True  # "the answer is 7, because 3 + 4 = 7"
    else:
        answer, takes_first = text[-_LONGEST:], False
    matches = list(_NUMBER.finditer(answer))
    pair = matches[:2] if takes_first else matches[-2:]  # the number and its neighbour
    if not matches or (len(pair) == 2 and _CHOICE.fullmatch(pair[0].string, pair[0].end(), pair[1].start())):
        return None
    return _value(matches[0 if takes_first else -1], percent)


def find_numbers(text: str, percent: bool = False) -> list[float]:
    """Return every number in a text, in order."""
    return [_value(match, percent) for match in _NUMBER.finditer(_simplify(text))]


def _simplify(text: str) -> str:
    """Return the text without LaTeX around numbers; "x ≠ 3" becomes "x not 3", which is a denial."""
    text = _UNEQUAL.sub(" not ", _THOUSANDS_MARK.sub("", _FRACTION.sub(r"\1/\2", text)))
    return text.replace("$", "").replace("\\times", "×")


def _value(match: re.Match[str], percent: bool) -> float:
    if match["word"]:
        return float(_WORDS.index(match["word"].lower()))
    if match["top"]:
        value = float(match["top"]) / float(match["bottom"]) if float(match["bottom"]) else math.nan  # close to nothing
    else:
        power = (match["power"] or "0").replace("−", "-")
        value = float(f"{match['digits'].replace(',', '')}e{power}")
    value = -value if match["sign"] in ("-", "−") else value
    return value / 100 if percent and match["percent"] else value


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
    Case("50%", "0.5", args={"percent": True}),
    Case("50 %", "50", args={"percent": False}),
    Case("The answer is 7, because 3 + 4 = 7.", "7"),
    Case("130 Hz", "120", equal=False, args=_CLOSE),
    Case("119, 120", "120", equal=False),
    Case("119 or 120", "120", equal=False),
    Case("-120", "120", equal=False, args=_CLOSE),
    Case("12", "120", equal=False, args=_CLOSE),
    Case("", "0", equal=False),
    Case("<think>120", "120", equal=False),
    Case("none", "0", equal=False),
]
