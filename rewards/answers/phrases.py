"""Finds phrases of mathematics in prose that is written in plain LaTeX: numbers with their units, formulas, lists of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rewards.answers.calendar import DATE_IN_TEXT
from rewards.answers.notation import EDGE, WORD_MARK
from rewards.answers.units import read_unit

_LATIN = r"[^\W\d_\u3040-\u9fff\uac00-\ud7a3]"
_TOKEN = re.compile(
    r"(?P<grid>\\begin\{(?P<env>\w+\*?)\}.*?\\end\{(?P=env)\})"
    r"|(?P<stop>\\(?:[Rr]ightarrow|[Ll]ongrightarrow|implies|therefore|because|to|iff|item|hline|newline|par|Longleftrightarrow|Leftrightarrow)(?![a-z])|\\\\)"
    r"|(?P<command>\\[a-zA-Z]+|\\[{}|])"
    rf"|(?P<date>{DATE_IN_TEXT})"
    r"|(?P<ordinal>\d++(?:st|nd|rd|th)\b)"
    r"|(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![a-zA-Z]*\d[^\W_])|\.\d+)"
    rf"|(?P<word>{WORD_MARK}?{_LATIN}(?:['’]?(?:{_LATIN}|\d))+(?:-{_LATIN}(?:{_LATIN}|\d)*)*(?:\^\{{-?\d\}})?|[^\W\d_a-zA-Z]+)"
    r"|(?P<letter>[a-zA-Z])"
    r"|(?P<operator>[-+/^_=<>!%|]|(?<=\d):(?=\d))"
    r"|(?P<bracket>[()\[\]{}])"
    rf"|(?P<space>[ {EDGE}]+)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_HEDGE = rf"(?:{WORD_MARK}?(?:maybe|perhaps|possibly|probably|even|about|also|else|it|they|he|she|there|might|may|could|would|is|are|was|be|it['’]s|the\s+answer)\s+)"
_JOINT = re.compile(
    rf"[ {EDGE}]*(?:[,.]?[ {EDGE}]*{WORD_MARK}?\b(?:or|oder|ou)\b[ {EDGE}]*{_HEDGE}{{0,5}}|,?[ {EDGE}]*{WORD_MARK}?\b(?:and|und|et)\b[ {EDGE}]*(?:(?:maybe|perhaps|about)\s)?"
    rf"|[,;/|(][ {EDGE}]*(?:(?:or|maybe|perhaps|possibly|about)\s){{1,3}}|[,;/|][ {EDGE}]*|(?:または|もしくは|或者?|か|또는|혹은|أو|या|или|либо)[ {EDGE}]*|\b(?:to|through)\b[ {EDGE}]*)",
    re.IGNORECASE,
)
_LONGEST_JOINT = 60  # characters that are searched for a joint: the pattern takes cubic time
_INTRODUCTION = re.compile(
    r"(?:^|[.!?\n]\s*)(?:out\s+of|of|in|by|after|since|from|with|at|on|before|until|during)\s+(?:(?:the|these|those|all)\s+)?\Z",
    re.IGNORECASE,
)
_LEADING = re.compile(rf"(?:[ {EDGE}=+^_)\]}}!%|<>/]|\\(?:approx|cdot|times|cap|cup)(?![a-z])|-(?=\s))+")
_LAST = re.compile(rf"(?:[ {EDGE}=+^_(\[{{|<>/:-]|\\(?:approx|cdot|times|ne|le|ge|cap|cup|ldots|in))\Z")
_SUBSTANCE = re.compile(
    r"\d|\\(?!text|ldots|quad|left|right|langle|rangle|approx)[a-z]{2,}|[a-zA-Z]\s*(?:=|\\ne|\\le|\\ge|<|>)"
)


def phrases(prose: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each phrase of mathematics in a plain text: numbers with their units, formulas, lists of them."""
    phrase: tuple[int, int] | None = None
    for span in _single_phrases(prose):
        if phrase is not None and _joins(prose, phrase, span):
            phrase = (phrase[0], span[1])
            continue
        if phrase is not None:
            yield phrase
        phrase = span
    if phrase is not None:
        yield phrase


def _joins(prose: str, a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Return whether two phrases are offered side by side: "41, 42", "5 to 7", "x = 1 or x = 2"."""
    if prose[a[1] : b[0]].strip() == "," and _INTRODUCTION.search(prose[max(0, a[0] - 20) : a[0]]):
        return False  # "Out of 100, 48 remain"
    return b[0] - a[1] <= _LONGEST_JOINT and _JOINT.fullmatch(prose, a[1], b[0]) is not None


def _single_phrases(prose: str) -> Iterator[tuple[int, int]]:
    start: int | None = None
    end, depth = 0, 0  # of brackets that the phrase has open
    for token in _TOKEN.finditer(prose):
        kind = token.lastgroup if token.lastgroup != "env" else "grid"
        if kind == "space":
            continue
        is_item = depth > 0 and token[0] in ",;"  # (2, 3)
        if is_item or _is_math(prose, token, kind, start is not None and end == token.start(), start is not None):
            start, end = (token.start() if start is None else start), token.end()
            depth = max(0, depth + (token[0] in ("(", "[", "{", "\\{")) - (token[0] in (")", "]", "}", "\\}")))
            continue
        depth = 0
        if start is not None:
            if token.start() < end:
                continue  # within a unit
            end = _with_unit(prose, start, end)
            yield from _trim(prose, start, end)
            start = None
    if start is not None:
        yield from _trim(prose, start, _with_unit(prose, start, end))


def _is_math(prose: str, token: re.Match[str], kind: str | None, is_glued: bool, within: bool) -> bool:
    if kind in ("grid", "command", "date", "number", "bracket"):
        return True
    if kind == "operator":
        at_line_start = prose[: token.start()].rstrip(" ").endswith("\n") or not prose[: token.start()].strip()
        is_bullet = token[0] == "-" and at_line_start and prose[token.end() : token.end() + 1] == " "
        return not is_bullet
    if kind == "letter":  # `a` and `I` in prose are words; in mathematics a letter touches something
        following = prose[token.end() :].lstrip(f" {EDGE}")
        touches = following[:1] and (following[0] in "=<>^_+-*/" or following.startswith(("\\", "(")))
        alone = prose[token.start() - 1 : token.start()] == EDGE and prose[token.end() : token.end() + 1] == EDGE
        # Within mathematics an x before a number, as in 3 x 4, multiplies.
        return is_glued or bool(touches) or alone or (token[0] == "x" and within and following[:1].isdigit())
    return False


_UNIT = re.compile(
    rf"[ {EDGE}]*(?:%|{WORD_MARK}?[^\W\d_]+)(?:\s*(?:/|\bper\b)\s*{WORD_MARK}?[^\W\d_]+)?(?:\^\{{\d\}})?"
)


def _with_unit(prose: str, start: int, end: int) -> int:
    """Return where a phrase ends with the unit of measurement behind it, if there is one."""
    if not re.search(r"(?:[\d})]|\\pi)\s*$", prose[start:end]):
        return end
    match = _UNIT.match(prose, end)
    if match is None:
        return end
    for text in (match[0], re.split(r"/|\bper\b", match[0])[0]):
        unit = read_unit(text.replace(EDGE, " "))
        if unit is not None and unit.dimensions:
            return end + len(text)
    return end


def _trim(prose: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the phrase without operators that join nothing and brackets that close nothing, if any mathematics is left:
    on both sides of a bracket that is never closed."""
    opened = _unclosed(prose, start, end)
    for a, b in zip([start, *(position + 1 for position in opened)], [*opened, end], strict=True):
        yield from _trimmed_part(prose, a, b)


def _trimmed_part(prose: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while True:
        before = (start, end)
        lead = _LEADING.match(prose, start, end)
        start = lead.end() if lead else start
        end = _trailing_start(prose, start, _balanced_end(prose, start, end))
        if (start, end) == before:
            break
    if start < end and _SUBSTANCE.search(prose, start, end):
        yield start, end


def _trailing_start(prose: str, start: int, end: int) -> int:
    """Return where the operators begin that join nothing behind a phrase. It is looked for from the end, so that no run
    of them makes the search slow."""
    while end > start:
        tail = _LAST.search(prose, max(start, end - 8), end)
        if tail is None:
            break
        end = tail.start()
    return end


def _balanced_end(prose: str, start: int, end: int) -> int:
    """Return where a closing bracket stands that nothing opens, or the end."""
    depth = 0
    for position in range(start, end):
        depth += (prose[position] in "([{") - (prose[position] in ")]}")
        if depth < 0:
            return position
    return end


def _unclosed(prose: str, start: int, end: int) -> list[int]:
    """Return where the brackets stand that are opened and not closed."""
    opened: list[int] = []
    for position in range(start, end):
        if prose[position] in "([{":
            opened.append(position)
        elif prose[position] in ")]}" and opened:
            opened.pop()
    return opened
