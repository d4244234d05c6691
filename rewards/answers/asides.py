"""Tells what a sentence gives from what it says aside: reasons, parts, comparisons and other answers behind its number."""

from __future__ import annotations

import re

from rewards.answers.bounds import is_bounded_before
from rewards.answers.grammar import read_plain
from rewards.answers.kinds import Number
from rewards.answers.values import same_value

# `75 (49 + 26)`, `21 (21)`: digits in brackets behind an answer explain or repeat it
_REASON = re.compile(
    r"(?P<answer>[^\s(]*[\d}%])\s+\((?P<reason>(?:[^()a-z\\]|\\(?:times|cdot|approx|frac)(?![a-z])){1,100}|[a-zA-Z -]{3,60})\)\s*\.?\s*(?=\Z|[a-zA-Z])"
)


def without_reason(text: str) -> str:
    """Return the text without digits in brackets behind a number that explain or repeat it: `75 (49 + 26)`."""
    return _REASON.sub(_answer_of_reason, text)


def _answer_of_reason(match: re.Match[str]) -> str:
    answer, reason = read_plain(match["answer"]), read_plain(match["reason"])
    is_in_words = match["reason"][:1].isalpha()
    if not isinstance(answer, Number) or (is_in_words and not isinstance(reason, Number)):
        return match[0]
    if not is_in_words and not re.search(r"\d", match["reason"]):
        return match[0]
    if isinstance(reason, Number) and not reason.value.undone and not same_value(answer.value, reason.value):
        return match[0]  # `2 (3)` may be a product
    return f"{match['answer']} "


# what opens an aside behind an answer: "75, which is more than 50", "75 (half of 150)", "75 because 49 + 26 …"
_ASIDE = re.compile(r"[,(–—;]|\b(?:because|since|of)\b", re.IGNORECASE)
# "32 lamps, or maybe" 36 lamps
_ALTERNATIVE = re.compile(
    r"(?:\s[^\W\d_]+){0,3},?\s+or\s+(?:(?:maybe|perhaps|possibly|even|about|else)\s+){0,2}", re.IGNORECASE
)
_PER = re.compile(r"\s+(?:(?:for|in|on|at|to|from)\s+(?:each|every)|per\b|apiece)", re.IGNORECASE)
_REASON_WORD = re.compile(
    r"\b(?:because|since)\b|,\s+as\s(?!a\b|well\b)|(?:\s\w+)?\s+(?:out\s+)?of\s+(?:(?:the|those|all)\s+)?\S\Z",
    re.IGNORECASE,
)
_SUM = re.compile(r"\([^(),;a-z=]*\d\s*(?:[-+*/]|\\(?:times|cdot))[^(),;=]*\)")
# "30, but 3 left, which leaves 27" counts nothing up
_CHANGE = re.compile(r"\b(?:but|so|which|leav\w+|left|remain\w*|then|minus|gives?|makes?|gets?)\b|=", re.IGNORECASE)
_BREAKDOWN = re.compile(r"(?:\s[^\W\d_]+){0,4}\s*[:,(–—]")


def _opens(between: str) -> bool:
    """Return whether a bracket is opened between two phrases and not closed: "4 (two men and two women)"."""
    return "(" in between and ")" not in between


def _is_breakdown(prose: str, spans: list[tuple[int, int]]) -> bool:
    """Return whether a sentence's first number is the sum of the others, which it counts up: "4 voices: 2 men, 2 women"."""
    if (
        not 3 <= len(spans) <= 8
        or not _BREAKDOWN.match(prose, spans[0][1])
        or _CHANGE.search(prose, spans[0][1], spans[-1][0])
    ):
        return False
    numbers = [read_plain(prose[slice(*span)]) for span in spans]
    values = [n.value.real for n in numbers if isinstance(n, Number) and n.value.is_digits]
    return len(values) == len(spans) and values[0] == sum(values[1:])  # type: ignore[arg-type]


def main_phrase(prose: str, spans: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the last of a sentence's phrases that stands in no aside: "75, 26 more than 49" gives the 75."""
    if _is_breakdown(prose, spans):
        return spans[0]
    bracket = prose.rfind("(", spans[0][1], spans[-1][0])
    if bracket >= 0 and ")" not in prose[bracket : spans[-1][0]]:
        spans = [span for span in spans if span[1] <= bracket]
    for i in range(len(spans) - 1, 0, -1):
        # With the first sign of the phrase behind it, on which some of the patterns end (`\S\Z`).
        between = prose[spans[i - 1][1] : spans[i][0] + 1]
        if _PER.match(prose, spans[i][1]) and re.search(r"[,:(]\s*\S\Z", between):
            continue  # "48 eggs, 12 for each cake"
        if not _ASIDE.search(between):
            if (
                is_bounded_before(between[:-1])
                and i > 1
                and _ASIDE.search(prose[spans[i - 2][1] : spans[i - 1][0] + 1])
            ):
                return spans[i - 2]  # ", 26 more than 49"
            return spans[i]
        is_reason = (
            _REASON_WORD.search(between) is not None or _opens(between) or _SUM.fullmatch(prose[slice(*spans[i])])
        )
        if not (is_reason or is_bounded_before(between[:-1])) or re.search(
            r"\b(?:so|then|thus|therefore|hence)\b", between
        ):
            return spans[i]
    return spans[0]


def is_alternative(prose: str, start: int, end: int) -> bool:
    """Return whether the text between two numbers offers the second in place of the first: "32 lamps, or maybe 36
    lamps"."""
    return _ALTERNATIVE.fullmatch(prose, start, end) is not None
