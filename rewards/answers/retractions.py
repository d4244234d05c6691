"""Drops what a response denies ("not 42", "anything but C"), calls wrong, or corrects ("no, wait: …").

Each verifier says for itself what an answer looks like: it hands in a regular expression without groups, the *atom*. The
rules read English; of other languages they know the plainest denials.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from rewards.answers.marks import STATEMENT, marked_answer, stated_answer

_NEAR = 80  # characters before an answer in which it can be denied
# a denial that ends right before an answer ("not", "anything but", "ruled out")
_DENIAL = re.compile(
    r"(?<![\w\\])(?:(?<!\bor )not|nor|neither|never|(?:isn|wasn|aren|weren)['’]t|(?:cannot|can['’]t|couldn['’]t)\s+be"
    r"|rather\s+than|instead\s+of|(?:rul|eliminat|exclud|reject)(?:e|es|ed|ing)?(?:\s+out)?"
    r"|(?:wrong|incorrect)\s+(?:\w+\s+)?(?:is|was|:)|nicht|pas|no\s+es|不是"
    r"|(?P<all_but>(?:any|every|all)(?:thing|one|\s+\w+)?\s+but|other\s+than|except(?:\s+for)?))"
    r"(?:[\s*$(\"'“‘]|\\[(\[]|\\text\{|(?:be|just|simply|either|both|exactly|about|equal|to|the|an?|option|choice|answer)\b)*+\Z",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(  # "none other than 42", "all ruled out except 42" deny nothing
    r"(?:\b(?:no|none|nothing|not|never|cannot|out|eliminated|excluded|wrong|incorrect)\b|n['’]t\b)[^.;!?\n]*\Z", re.I
)
# a verdict right after an answer ("is wrong", "can't be right")
_WRONG = re.compile(
    r"[\s*$)\"'”’}?.,]*(?:(?:but\s+)?(?:which|that|this|it)(?:\s+|(?=['’]s)))?"
    r"(?:(?:is|was|are|were|seems|looks|(?:would|must|can)\s+be|['’]s)(?:\s+\w+)?\s+(?:wrong|incorrect|mistaken|ruled\s+out"
    r"|not\s+(?:right|correct|true|it|possible|the\s+(?:right\s+|correct\s+)?(?:answer|one)))"
    r"|(?:isn['’]t|can(?:no|['’])t\s+be)\s+(?:right|correct|true|it|the\s+(?:right\s+|correct\s+)?(?:answer|one)))\b",
    re.IGNORECASE,
)
# between answers that share a denial ("neither 41 nor 42")
_OR = re.compile(r"[\s*$)]*(?:,?\s*n?or|and)\s+[*$(]*", re.IGNORECASE)
# the words of a correction; `_compile_correction` wants an answer right behind them
_CORRECTION = (
    r"(?:^|(?<=[.,;:!?(\n—–-])|(?<=[.,;:!?(—–-]\s))\s{0,4}(?:(?:oh|but|hmm),?\s+)?"
    r"(?:no,?\s+wait|wait(?=\s*[,.:;!—–-])|no(?=\s*[,.:;!—–-])|nope|actually|correction|scratch\s+that|sorry|I\s+mean"
    r"|on\s+second\s+thoughts?|make\s+(?:that|it)|or\s+rather)\b(?:[\s,.:;!—–-]|(?:no|wait|sorry|actually)\b){0,12}"
)
_LEAD_IN = r"(?:(?:so|then|it|that|this|the|my|correct|right|final|is|was|should|must|be|I|mean|meant|think)\b|[\s,:*$(\"]|['’]s\b){0,24}"


def drop_retracted(text: str, atom: str) -> str:
    """Return the part of a text that still holds: without the answers that it denies, from its last correction on."""
    return after_correction(drop_denied(text, atom), atom)


def drop_denied(text: str, atom: str) -> str:
    """Return the text without the answers that it denies or calls wrong: "not 41 but 42" keeps 42, "B is wrong" none."""
    answers = [answer.span() for answer in _compile(atom).finditer(text)]
    pieces: list[str] = []
    end = 0
    for (start, stop), is_denied in zip(answers, denied_spans(text, answers), strict=True):
        if is_denied:
            pieces += text[end:start], " "
            end = stop
    return "".join([*pieces, text[end:]])


def denied_spans(text: str, answers: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each answer, given as (start, end) in the text, whether the text denies it or calls it wrong."""
    ends = [0, *(end for _, end in answers)]
    denied_before = [  # by what stands between the answer before and this one, at most _NEAR characters
        _is_denied(text, max(end, start - _NEAR), start) for end, (start, _) in zip(ends, answers, strict=False)
    ]
    denied_after = [_WRONG.match(text, end) is not None for _, end in answers]
    neighbours = [i for i, (a, b) in enumerate(pairwise(answers)) if _OR.fullmatch(text, a[1], b[0])]
    for i in neighbours:  # "neither 41 nor 42"
        denied_before[i + 1] |= denied_before[i]
    for i in reversed(neighbours):  # "41 and 42 are wrong"
        denied_after[i] |= denied_after[i + 1]
    # "every option but C is wrong" denies twice
    return [before != after for before, after in zip(denied_before, denied_after, strict=True)]


def _is_denied(text: str, start: int, end: int) -> bool:
    """Return whether text[start:end] denies the answer that follows it."""
    denial = _DENIAL.search(text, start, end)
    return denial is not None and not (denial["all_but"] and _NEGATIVE.search(text, start, denial.start()))


def after_correction(text: str, atom: str) -> str:
    """Return the text from its last correction on ("no, wait", "actually", with another answer right behind it)."""
    cuts = [correction.end() for correction in _compile_correction(atom).finditer(text)]
    rest = text[cuts[-1] :] if cuts else text
    # A marked answer is not taken back by an aside that marks and states none: "\boxed{42}. Actually, 43 is prime".
    is_aside = marked_answer(text) is not None and marked_answer(rest) is None and stated_answer(rest) is None
    return text if is_aside else rest


@lru_cache(maxsize=256)  # an atom may hold the texts of a prompt's options: many, each judged in several samples
def _compile(atom: str) -> re.Pattern[str]:
    return re.compile(atom)


@lru_cache(maxsize=256)
def _compile_correction(atom: str) -> re.Pattern[str]:
    return re.compile(rf"(?i:{_CORRECTION})(?=(?i:{_LEAD_IN})(?:{atom}|(?i:{STATEMENT})))")
