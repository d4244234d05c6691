"""Strips what surrounds an answer: punctuation at its ends, "about", brackets around all of it, a condition after
it."""

from __future__ import annotations

import re

from rewards.answers.brackets import closing_of, split_top
from rewards.answers.notation import EDGE, WORD_MARK

_EDGES = f" \n.,;:?\"“”'’{EDGE}"
_LEFT_EDGE = re.compile(rf"(?:(?!\.\d)[{re.escape(_EDGES)}])*")  # the point of .5 stays
_ABOUT = re.compile(
    rf"^(?:\s|{EDGE}|\\(?:approx|sim)(?![a-z])|=|{WORD_MARK}?(?:about|approximately|approx\.?|roughly|around|circa|exactly|simply|just"
    r"|only|equal\s+to|equals|precisely|a\s+total\s+of|the\s+number|the\s+value|environ|ungefähr|etwa|约|大约)(?![\w]))+",
    re.IGNORECASE,
)
# `f(x) = cx for any c`, `x = 2 (since x > 0)`: what follows explains the answer
_CONDITION = re.compile(
    rf"[\s,(]+{WORD_MARK}?(?:for\s+(?:any|all|every|some|each)|where|when|whenever|with\s|such\s+that|provided|if\s|because|since|as\s+well"
    rf"|given\s+that|in\s+which|{WORD_MARK}(?:for|with|if|where)\b).*$",
    re.IGNORECASE | re.DOTALL,
)


def bare(text: str) -> str:
    """Return an answer without punctuation at its ends, "about", and brackets around all of it."""
    before = None
    while before != text:
        before = text
        text = _strip_edges(text)
        text = _ABOUT.sub("", text)
        inside = _unwrap(text)
        if inside is not None:
            text = inside
    return text if "\\begin{" in text else _CONDITION.sub("", text) or text


def _strip_edges(text: str) -> str:
    before = re.sub(r"\\+$", "", text.rstrip(_EDGES)).rstrip(_EDGES)
    return before[_LEFT_EDGE.match(before).end() :]  # type: ignore[union-attr]


def _unwrap(text: str) -> str | None:
    """Return what one pair of brackets around the whole text holds, where it is no tuple, set or interval; else None."""
    if len(text) < 2 or (text[0], text[-1]) not in (("(", ")"), ("{", "}"), ("[", "]")):
        return None
    inside = text[1:-1]
    if closing_of(text, 0) != len(text) - 1:
        return None
    if text[0] == "{":
        return inside
    has_items = len(split_top(inside, ",;")) > 1 or re.fullmatch(r"\s*-?\d+(?:,\d+)+\s*", inside)
    return None if has_items else inside
