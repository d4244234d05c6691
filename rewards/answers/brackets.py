"""Splits plain LaTeX where no bracket and no environment is open."""

from __future__ import annotations

import re


def closing_of(text: str, start: int) -> int:
    """Return where the bracket at `start` closes, counting all kinds of brackets alike, as in `[0, 1)`; -1 where it never
    does."""
    depth = 0
    position = start
    while position < len(text):
        char = text[position]
        # `\[` is no bracket that counts, but `\{` opens a set.
        if char == "\\" and text[position + 1 : position + 2] not in ("{", "}"):
            position += 2
            continue
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1


def split_top(text: str, separators: str) -> list[str]:
    """Return the parts of a text between separators that stand in no brackets and in no environment. A comma within a
    number's thousands parts nothing."""
    parts: list[str] = []
    depth, start, position = 0, 0, 0
    while position < len(text):
        if text.startswith("\\begin{", position):
            depth += 1
        elif text.startswith("\\end{", position):
            depth -= 1
        char = text[position]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char in separators and depth <= 0 and not (char == "," and _in_thousands(text, position)):
            parts.append(text[start:position])
            start = position + 1
        position += 1
    parts.append(text[start:])
    return parts


def _in_thousands(text: str, comma: int) -> bool:
    # Only the neighbourhood is searched: of the whole text each comma of a long list would cost its length.
    before = re.search(r"(?<![\d,])\d{1,3}(?:,\d{3})*$", text[max(0, comma - 24) : comma])
    return bool(before and re.match(r"\d{3}(?:,\d{3})*(?![\d,])", text[comma + 1 : comma + 40]))


def split_items(text: str) -> list[str]:
    """Return the items between brackets: there a comma always parts them."""
    if len(split_top(text, ";")) > 1:
        return split_top(text, ";")
    parts: list[str] = []
    for part in split_top(text, ","):
        parts += part.split(",") if re.fullmatch(r"\s*-?\d{1,3}(?:,\d{3})+\s*", part) else [part]
    return [part for part in parts if part.strip()]


def split_outside(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Return the parts of a text between matches of a pattern that stand in no brackets."""
    parts: list[str] = []
    start = 0
    for match in pattern.finditer(text):
        head = text[: match.start()]
        opened = sum(head.count(c) for c in "([{") - sum(head.count(c) for c in ")]}")
        in_environment = head.count("\\begin{") > head.count("\\end{")
        if opened <= 0 and not in_environment:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]
