"""Cuts a text that grows into phrases, each of which is spoken as soon as it is whole."""

from __future__ import annotations

import re

COMMA_FROM = 24
"""Characters from which on a comma ends a phrase: a voice that stops behind every word is hard to follow."""
BLANK_FROM = 160
"""Characters from which on any blank ends one: a text without marks is heard, too."""
# A mark of the Latin kind counts once a blank has come behind it ("3.5", "e.g." inside a word do not end); others at once.
_ENDS = re.compile(r"[.!?…:;]['\"”’)\]]*(?=\s)|[。！？；।؟]|\n")
_COMMAS = re.compile(r"[,—](?=\s)|[、，،]")
_BLANK = re.compile(r"\s")


class Phrases:
    """The phrases of one text.

    Example:
        >>> phrases = Phrases()
        >>> phrases.add("Yes. It is 3."), phrases.add("5 m"), phrases.rest()
        (['Yes.'], [], ['It is 3.5 m'])
    """

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> list[str]:
        """Return the phrases that are whole now."""
        self.text += text
        phrases: list[str] = []
        while end := _first_end(self.text):
            phrases.append(self.text[:end].strip())
            self.text = self.text[end:]
        return [phrase for phrase in phrases if _is_spoken(phrase)]

    def rest(self) -> list[str]:
        """Return what is left, where no more text follows."""
        text, self.text = self.text.strip(), ""
        return [text] if _is_spoken(text) else []


def _first_end(text: str) -> int:
    """Return the end of the first phrase; 0 while none is whole."""
    ends = [match.end() for match in (_ENDS.search(text), _COMMAS.search(text, COMMA_FROM)) if match]
    if not ends and (match := _BLANK.search(text, BLANK_FROM)):
        ends = [match.end()]
    return min(ends, default=0)


def _is_spoken(phrase: str) -> bool:
    """Return whether there is anything to say: a list's dash or a bracket is silent."""
    return any(character.isalnum() for character in phrase)
