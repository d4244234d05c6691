"""Finds the answer in a response: marked, stated ("the answer is …"), or else the last mathematics of its prose.

A span is returned in plain LaTeX (`rewards.answers.notation`), as `rewards.answers.grammar` reads it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

from rewards.answers.asides import is_alternative, main_phrase, without_reason
from rewards.answers.bounds import is_asked, is_bounded_after, is_bounded_before, offers_alternatives
from rewards.answers.dress import plain_prose
from rewards.answers.grammar import is_wordy, read_plain
from rewards.answers.kinds import Based, Duration, Formula, Grid, Moment, Number, Series, Words
from rewards.answers.marks import BOX_ATOM, NUMBER_ATOM, TAG_ATOM, is_enumeration, marked_answer
from rewards.answers.notation import EDGE, WORD_MARK, plain
from rewards.answers.numerals import in_one_convention
from rewards.answers.phrases import phrases
from rewards.answers.retractions import after_correction, denied_spans, drop_retracted, is_doubted
from rewards.answers.words import with_digits

_BARE = 400  # most characters of a response that may be nothing but an answer
LONGEST = 4000
"""Characters of a response, from its end, in which an answer is looked for."""
_FORMULA = r"\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)|[-+−]?\\(?:[dt]?frac|sqrt)(?:\{[^{}]*\}){1,2}"
ATOM = rf"{BOX_ATOM}|{TAG_ATOM}|{_FORMULA}|{NUMBER_ATOM}"
"""Pattern of an answer in a denial or a correction (`rewards.answers.retractions`)."""

_PLAIN_ATOM = (
    r"[-+]?(?:\.?\d|\\(?:frac|sqrt|pi|begin)|[\[({]\d|[a-z]\s*=)"  # the beginnings of what ATOM does not cover
)


@dataclass(frozen=True, slots=True)
class Span:
    """An answer's text in plain LaTeX, and how the response gives it."""

    text: str
    source: Literal["marked", "stated", "prose", "nothing"]
    statement: str = ""
    """The whole of a statement, to its sentence's end: an answer in words may be longer than its mathematics."""


NOTHING = Span("", "nothing")


def find_answer(response: str, number_words: bool = False) -> Span:
    """Return the last answer that a response neither denies nor takes back. With `number_words`, "twenty-one" in its prose
    is a number too."""
    text = drop_retracted(response, ATOM)
    mark = marked_answer(text)
    if mark is not None:
        rest = text[_end_of_last_mark(text) :]
        # "\boxed{41} … The final answer is 42": the statement is later
        later = _find_statement(plain_prose(rest[-LONGEST:], number_words)) if rest.strip() else NOTHING
        if later.text and not isinstance(read_plain(later.text), Words):
            return later
        return _from_mark(mark[-LONGEST:], number_words)
    prose = after_correction(plain_prose(text[-LONGEST:], number_words), _PLAIN_ATOM)
    prose = without_reason(prose)
    stated = _find_statement(prose)
    if stated.source == "stated":
        return stated
    if len(prose) < _BARE and _is_mathematics(prose) and _stands(prose):
        return Span(prose, "prose")  # nothing but an answer
    return _last_in(prose)


def _end_of_last_mark(text: str) -> int:
    return max((match.end() for match in re.finditer(rf"{BOX_ATOM}|{TAG_ATOM}|####[^\n]*", text)), default=len(text))


def _from_mark(content: str, number_words: bool) -> Span:
    """Return the answer that a mark holds: all of it, or, where that is a sentence, what the sentence comes to."""
    text = plain(in_one_convention(content) if number_words else content)
    if number_words and not any(char.isdigit() for char in text):
        text = with_digits(text.replace(WORD_MARK, ""))
    if not isinstance(read_plain(text), Words) or not re.search(r"\d|\\[a-z]", text):
        return Span(text, "marked", text)
    prose = plain_prose(content, number_words)
    inner = _find_statement(prose)
    if inner.source != "stated":
        inner = _last_in(prose)
    return Span(inner.text, "marked", text)


# What is stated

_HEAD = re.compile(
    rf"(?:(?<!wrong )(?<!incorrect )\b(?:answer|ans|result)\b(?:\s+to\s+[^.\n]{{1,80}}?|\s+here|\s+therefore)?\s*{WORD_MARK}?(?:\bis\b|\bequals\b|\bcomes\s+to\b|\bwould\s+be\b|\bmust\s+be\b|:|=|(?<=\bans)\.(?=\s*\d))"
    r"|\b(?:r[ée]ponse|respuesta|risposta|antwort|resposta)\b\s*(?:est\b|es\b|è\b|ist\b|é\b|:|=)"
    r"|(?:答案|答え|结果|結果|정답|답)\s*(?:是|为|為|は|은|는|:|=))\s*:?",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!\d)[!?](?=\s|$)|[.?](?=\s|$|[\"”’)])|\n")
# where a sentence stops giving its answer and goes on to explain it
_CLAUSE = re.compile(
    rf"\s*(?:,\s*|[(—–;]\s*|\s){WORD_MARK}?(?:because|since|as\b(?!\s+well)|so\b|where|which|and\s+(?:then|so|not|the)|but|if|when|due\s+to|given|for\s+all|since|that|by\b|after|from|not\b|I\b|we\b|is\b|was\b)"
)
_FILLERS = re.compile(
    rf"(?:\s|{EDGE}|[:,=*\"'“‘]|\\approx|{WORD_MARK}|\b(?:that|the|number|value|of|is|are|equal|to|exactly|about|approximately|approx|roughly|around|simply|just|only|indeed|therefore|thus|then|so|it|equals|given|by|a|total|either|both|now|clearly|option|sum|product)\b)*",
    re.IGNORECASE,
)


def _stands(text: str) -> bool:
    """Return whether a text that is an answer and nothing else neither bounds nor denies it."""
    return not _is_bounded(text) and not any(denied_spans(text, list(phrases(text))))


def _find_statement(prose: str) -> Span:
    """Return what the last "the answer is …" of a plain text says; NOTHING where it has none."""
    heads = [head for head in _HEAD.finditer(prose) if not is_doubted(prose[: head.start()])]
    if not heads:
        return NOTHING
    rest = _BULLET.sub("", prose[heads[-1].end() :]).lstrip(f' \n"“{EDGE}')
    if not rest:
        return NOTHING
    sentence = rest[: _sentence_end(rest)]
    if offers_alternatives(prose[heads[0].start() :]):
        return Span("", "stated", sentence)
    for text in (without_reason(sentence), _CLAUSE.split(sentence, maxsplit=1)[0]):
        if text.strip() and _is_mathematics(text) and _stands(text):
            return Span(text, "stated", sentence)
    for start, end in _standing(sentence):
        # Only the first phrase can stand right behind the head.
        if _FILLERS.fullmatch(sentence[:start]) and not is_bounded_after(sentence, end):
            return Span(sentence[start:end], "stated", sentence)
        break
    standing = [] if _is_bounded(sentence) else _standing(sentence)
    first = sentence[slice(*standing[0])] if standing else ""  # "the answer is that Tom has 7 apples, 4 of them red"
    return Span(first, "stated", sentence)


_BULLET = re.compile(r"\A\s*\n\s*[-•–]\s+")


def _is_bounded(text: str) -> bool:
    """Return whether a text bounds its number ("at least 7", "7 or more") and gives none."""
    first = next(iter(phrases(text)), None)
    return first is not None and (is_bounded_before(text[: first[0]]) or is_bounded_after(text, first[1]))


_JOINING_WORD = re.compile(rf"{WORD_MARK}?\b(?:and|or|to|oder|und|et|ou)\b")


# letters of scripts that no formula has, and contractions
_NO_MATHEMATICS = re.compile(r"[\u0400-\u1fff\u3040-\ud7ff]|[a-zA-Z]['’](?:d|ll|m|re|ve|s|t)\b")


def _is_mathematics(text: str) -> bool:
    """Return whether a plain text is an answer and nothing else: mathematics, a quantity, a date, several of them."""
    answer = read_plain(text)
    items = answer.items if isinstance(answer, Series) else (answer,)
    if all(isinstance(item, Number | Moment | Duration | Based | Grid) for item in items):
        return True
    if isinstance(answer, Formula) and _NO_MATHEMATICS.search(text):
        return False
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
    """Return the last phrase of mathematics that a plain text gives: neither denied nor asked, nor in an explanation."""
    if is_enumeration(prose) or offers_alternatives(prose):
        return NOTHING
    prose = _without_explanation(prose)
    ends = [match.end() for match in _SENTENCE_BREAK.finditer(prose)]
    spans = [span for span in _standing(prose) if not is_asked(prose, _last_before(ends, span[0]), span[1])]
    if not spans:
        return NOTHING
    sentence_start = _last_before(ends, spans[-1][0])
    in_sentence = [span for span in spans if span[0] >= sentence_start]
    if len(in_sentence) > 1 and is_alternative(prose, in_sentence[-2][1], in_sentence[-1][0]):
        return NOTHING
    start, end = main_phrase(prose, in_sentence)
    number_count = len({prose[a:b] for a, b in in_sentence})
    if number_count > _MOST_NUMBERS and len(prose[sentence_start:start].split()) < 5 * number_count:
        return NOTHING
    if is_bounded_before(prose[sentence_start:start]) or is_bounded_after(prose, end):
        return NOTHING
    return Span(without_reason(prose[start:end]), "prose")


_SENTENCE_BREAK = re.compile(r"[.!?](?=\s)|\n")
_EXPLANATION = re.compile(
    rf"\n[\s#>{WORD_MARK}-]*(?:explanation|reason(?:ing)?|justification|because|here['’]?s\s+(?:why|how|the\s+\w+)|why|how|check|verification|proof|note)"
    r"\b(?:[^\n]{0,20}:|\s*$)",
    re.IGNORECASE | re.MULTILINE,
)


def _without_explanation(prose: str) -> str:
    """Return the text without an explanation under a heading of its own, where what stands before it is an answer."""
    for heading in _EXPLANATION.finditer(prose):
        head = prose[: heading.start()].strip()
        if head and "\n" not in head and _is_mathematics(head):
            return head
        break
    return prose


def _last_before(ends: list[int], position: int) -> int:
    index = bisect_right(ends, position)
    return ends[index - 1] if index else 0


def _standing(prose: str) -> list[tuple[int, int]]:
    """Return the phrases that a text does not deny."""
    spans = list(phrases(prose))
    denied = denied_spans(prose, spans)
    return [span for span, is_denied in zip(spans, denied, strict=True) if not is_denied]
