"""Strips prose of what surrounds its numbers: Markdown, emoji, tables, words for tolerances and digits."""

from __future__ import annotations

import re
import unicodedata

from rewards.answers.notation import plain
from rewards.answers.numerals import in_one_convention
from rewards.answers.words import with_digits, with_magnitudes


def plain_prose(text: str, number_words: bool) -> str:
    """Return prose in plain LaTeX without emoji, bullets, tables and italics; with `number_words`, its numbers in digits."""
    text = _SPELT.sub(_digits_of_spelt, _TABLE_ROW.sub(_cells, _ARROW.sub("", text)))
    if number_words:
        text = in_one_convention(text)
    text = plain(_DRESS.sub(r"\1", _without_symbols(text)))
    text = _TOLERANCE_IN_BRACKETS.sub(r" \1 ", _TOLERANCE.sub(r" \\pm ", text))
    if number_words or not any(char.isdigit() for char in text):
        return with_digits(text)
    return with_magnitudes(text)


_DRESS = re.compile(r"(?<![\w\\}])_{1,3}([^_\s](?:[^_\n]{0,200}[^_\s])?)_{1,3}(?![\w{])")  # Markdown's italics
_TOLERANCE = re.compile(r",?\s+(?:plus\s*(?:-|/|or)\s*minus|give\s+or\s+take)\s+(?=\d)|\s*\+/-\s*(?=\d)", re.IGNORECASE)

_TOLERANCE_IN_BRACKETS = re.compile(r"\(\s*((?:\d[^()\n]{0,40})?\\pm[^()\n]{0,40})\)")  # 120 (± 5), (120 ± 5) Hz


_TABLE_ROW = re.compile(r"^[ \t]*\|[^|\n]*\|(?:[^|\n]*\|)+[ \t]*$", re.MULTILINE)
_SPELT = re.compile(r"\b((?:[a-zA-Z]+[\s-]){0,4}[a-zA-Z]+)\s\((\d[\d,]{0,20})\)")  # thirty-six (36)


def _cells(row: re.Match[str]) -> str:
    return "\n".join(cell.strip() for cell in row[0].strip().strip("|").split("|"))


def _digits_of_spelt(match: re.Match[str]) -> str:
    digits = with_digits(match[1])
    is_same = re.search(r"(?<![\d.])\d+\Z", digits.strip()) and digits.split()[-1] == match[2].replace(",", "")
    return digits if is_same else match[0]


_ARROW = re.compile(r"\A\s*(?:=>|->|[→⇒➜➔•]|\*\s)\s*")


def _without_symbols(text: str) -> str:
    """Return the text without emoji and ticks, and with the full stop of Hindi as one."""
    if text.isascii():
        return text
    text = text.replace("।", ".\n")
    return "".join(
        " " if char > "\u2190" and unicodedata.category(char) in ("So", "Sk", "Cs") and char not in _MEANT else char
        for char in text
    )


_MEANT = "℃℉❌✗✘"
