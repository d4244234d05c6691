"""Finds the answer in a response: marked, stated ("the answer is …"), or else the last mathematics of its prose.

A span is returned in plain LaTeX (`rewards.answers.notation`), as `rewards.answers.grammar` reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rewards.answers.grammar import is_wordy, read_plain
from rewards.answers.kinds import Based, Duration, Grid, Moment, Number, Series, Words
from rewards.answers.marks import BOX_ATOM, NUMBER_ATOM, TAG_ATOM, is_enumeration, marked_answer
from rewards.answers.notation import EDGE, WORD_MARK, plain
from rewards.answers.phrases import phrases
from rewards.answers.retractions import after_correction, denied_spans, drop_retracted
from rewards.answers.words import with_digits, with_magnitudes

_BARE = 400  # characters of a response that may be one bare answer
LONGEST = 4000
"""Characters of a response, from its end, in which an answer is looked for."""
_FORMULA = r"\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)|[-+−]?\\(?:[dt]?frac|sqrt)(?:\{[^{}]*\}){1,2}"
ATOM = rf"{BOX_ATOM}|{TAG_ATOM}|{_FORMULA}|{NUMBER_ATOM}"
"""What counts as an answer in a denial or a correction (`rewards.answers.retractions`)."""

_PLAIN_ATOM = (
    r"[-+]?(?:\.?\d|\\(?:frac|sqrt|pi|begin)|[\[({]\d|[a-z]\s*=)"  # the beginnings of what ATOM does not cover
)


@dataclass(frozen=True, slots=True)
class Span:
    """An answer's text in plain LaTeX, and how the response gives it."""

    text: str
    source: Literal["marked", "stated", "prose", "nothing"]
    statement: str = ""
    """All that a statement says, to its sentence's end: an answer in words may be longer than its mathematics."""


NOTHING = Span("", "nothing")


def find_answer(response: str, number_words: bool = False) -> Span:
    """Return the last answer that a response neither denies nor takes back. With `number_words`, "twenty-one" in its prose
    is a number too."""
    text = drop_retracted(response, ATOM)
    marked = marked_answer(text)
    if marked is not None:
        rest = text[_end_of_last_mark(text) :]
        # "\boxed{41} … The final answer is 42": the statement is later
        later = _stated(_prose(rest[-LONGEST:], number_words)) if rest.strip() else NOTHING
        if later.text and not isinstance(read_plain(later.text), Words):
            return later
        return _from_mark(marked[-LONGEST:], number_words)
    prose = after_correction(_prose(text[-LONGEST:], number_words), _PLAIN_ATOM)
    stated = _stated(prose)
    if stated.source == "stated":
        return stated
    if len(prose) < _BARE and _is_mathematics(prose):
        return Span(prose, "prose")  # nothing but an answer
    return _last_in(prose)


def _end_of_last_mark(text: str) -> int:
    return max((match.end() for match in re.finditer(rf"{BOX_ATOM}|{TAG_ATOM}|####[^\n]*", text)), default=len(text))


def _prose(text: str, number_words: bool) -> str:
    text = plain(text)
    if number_words or not any(char.isdigit() for char in text):
        return with_digits(text)
    return with_magnitudes(text)


def _from_mark(content: str, number_words: bool) -> Span:
    """Return the answer that a mark holds: all of it, or, where that is a sentence, what the sentence comes to."""
    text = plain(content)
    if not isinstance(read_plain(text), Words) or not re.search(r"\d|\\[a-z]", text):
        return Span(text, "marked", text)
    prose = _prose(content, number_words)
    inner = _stated(prose)
    if inner.source != "stated":
        inner = _last_in(prose)
    return Span(inner.text, "marked", text)


# What is stated

_HEAD = re.compile(
    rf"(?:\b(?:answer|result)\b(?:\s+to\s+[^.\n]{{1,80}}?|\s+here|\s+therefore)?\s*{WORD_MARK}?(?:\bis\b|\bequals\b|\bcomes\s+to\b|\bwould\s+be\b|\bmust\s+be\b|:|=)"
    r"|\b(?:r[ée]ponse|respuesta|risposta|antwort|resposta)\b\s*(?:est\b|es\b|è\b|ist\b|é\b|:|=)"
    r"|(?:答案|答え|结果|結果|정답|답)\s*(?:是|为|為|は|은|는|:|=))\s*:?",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!\d)[!?](?=\s|$)|[.?](?=\s|$|[\"”’)])|\n")
# where a sentence stops giving its answer and goes on to explain it
_CLAUSE = re.compile(
    rf"\s*(?:,\s*|[(—–;]\s*|\s){WORD_MARK}?(?:because|since|as\b(?!\s+well)|so\b|where|which|and\s+(?:then|so|not|the)|but|if|when|due\s+to|given|for\s+all|since|that|by\b|after|from|not\b|I\b|we\b|is\b|was\b)"
)
_BOUND = re.compile(
    r"(?:\b(?:at\s+(?:least|most)|(?<!never )(?<!no )(?<!not )(?:more|less|fewer|greater|smaller|larger|higher|lower)\s+than|over|under|above|below|up\s+to|no\s+(?:more|less|fewer)\s+than|between"
    r"|(?:minimum|maximum)\s+of)|[<>]|\\(?:le|ge|ne)(?![a-z])|至少|至多|不到|超过|不是|大于|小于)\s*$",
    re.IGNORECASE,
)
_BOUND_AFTER = re.compile(
    rf"\s*,?\s*(?:{WORD_MARK}?or\s+(?:more|less|fewer|greater|above|below|higher|lower|over|under|larger|smaller)|\+(?!\s*\d)|{WORD_MARK}?at\s+(?:least|most)|{WORD_MARK}?and\s+(?:up|above|more|over)|times|plus|minus|squared|cubed|factorial|modulo|mod|以上|以下)\b",
    re.IGNORECASE,
)
_FILLERS = re.compile(
    rf"(?:\s|{EDGE}|[:,=*\"'“‘]|\\approx|{WORD_MARK}|\b(?:that|the|number|value|of|is|are|equal|to|exactly|about|approximately|approx|roughly|around|simply|just|only|indeed|therefore|thus|then|so|it|equals|given|by|a|total|either|both|now|clearly|option|sum|product)\b)*",
    re.IGNORECASE,
)


def _stated(prose: str) -> Span:
    """Return what the last "the answer is …" of a plain text says; NOTHING where it has none."""
    heads = list(_HEAD.finditer(prose))
    if not heads:
        return NOTHING
    rest = prose[heads[-1].end() :].lstrip(f' \n"“{EDGE}')
    if not rest:
        return NOTHING
    sentence = rest[: _sentence_end(rest)]
    for text in (sentence, _CLAUSE.split(sentence, maxsplit=1)[0]):
        if text.strip() and not _bounded(text) and _is_mathematics(text):
            return Span(text, "stated", sentence)
    for start, end in _standing(sentence):
        if _FILLERS.fullmatch(sentence[:start]) and not _BOUND_AFTER.match(sentence, end):
            return Span(sentence[start:end], "stated", sentence)
        break
    standing = [] if _bounded(sentence) else _standing(sentence)
    first = sentence[slice(*standing[0])] if standing else ""  # "the answer is that Tom has 7 apples, 4 of them red"
    return Span(first, "stated", sentence)


def _bounded(text: str) -> bool:
    """Return whether a text bounds its number ("at least 7", "7 or more") and gives none."""
    first = next(iter(phrases(text)), None)
    if first is None:
        return False
    lead = re.match(r"[\s\w]*", text[: first[0]])
    return bool(_BOUND.search(text[: first[0]]) and lead) or bool(_BOUND_AFTER.match(text, first[1]))


_JOINING_WORD = re.compile(rf"{WORD_MARK}?\b(?:and|or|to|oder|und|et|ou)\b")


def _is_mathematics(text: str) -> bool:
    """Return whether a plain text is an answer and nothing else: mathematics, a quantity, a date, several of them."""
    answer = read_plain(text)
    items = answer.items if isinstance(answer, Series) else (answer,)
    if all(isinstance(item, Number | Moment | Duration | Based | Grid) for item in items):
        return True
    return not isinstance(answer, Words) and not is_wordy(_JOINING_WORD.sub(" ", answer.text))


def _sentence_end(text: str) -> int:
    """Return where the first sentence of a plain text ends, outside brackets and environments."""
    for match in _SENTENCE_END.finditer(text):
        head = text[: match.start()]
        opened = sum(head.count(c) for c in "([{") - sum(head.count(c) for c in ")]}")
        if opened <= 0 and head.count("\\begin{") <= head.count("\\end{"):
            return match.start()
    return len(text)


# The last mathematics of prose

_MOST_NUMBERS = 12
"""Numbers in a last sentence beyond which it names none of them as its answer."""


def _last_in(prose: str) -> Span:
    """Return the last phrase of mathematics that a plain text does not deny."""
    if is_enumeration(prose):
        return NOTHING
    spans = _standing(prose)
    if not spans:
        return NOTHING
    start, end = spans[-1]
    sentence_start = max((m.end() for m in re.finditer(r"[.!?](?=\s)|\n", prose[:start])), default=0)
    lead = prose[sentence_start:start]
    in_sentence = [span for span in spans if span[0] >= sentence_start]
    number_count = len({prose[a:b] for a, b in in_sentence})
    if number_count > _MOST_NUMBERS and len(lead.split()) < 5 * number_count:
        return NOTHING
    if (_BOUND.search(lead) and len(in_sentence) == 1) or _BOUND_AFTER.match(prose, end):
        return NOTHING
    return Span(prose[start:end], "prose")


def _standing(prose: str) -> list[tuple[int, int]]:
    """Return the phrases that a text does not deny."""
    spans = list(phrases(prose))
    denied = denied_spans(prose, spans)
    return [span for span, is_denied in zip(spans, denied, strict=True) if not is_denied]
