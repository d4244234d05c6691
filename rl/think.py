"""The standard form of a turn that thinks: a chain between tags, then the answer."""

from __future__ import annotations

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


def split_think(text: str) -> tuple[str, str]:
    """Return (chain, answer) of an assistant turn in the format `<think>\\n chain \\n</think>\\n answer`. A chain that
    is opened and never closed has no answer; a text without tags is all answer."""
    # The last closing tag counts: a chain may quote the tag.
    head, closing_tag, tail = text.rpartition(THINK_CLOSE)
    if closing_tag:
        return head.removeprefix(THINK_OPEN).strip(), tail.strip()
    if text.startswith(THINK_OPEN):
        return text.removeprefix(THINK_OPEN).strip(), ""
    return "", text.strip()


def join_think(chain: str, answer: str) -> str:
    """Return the assistant turn of a chain and an answer, which `split_think` takes apart again."""
    return f"{THINK_OPEN}\n{chain}\n{THINK_CLOSE}\n{answer}"


class Turn:
    """An assistant's turn, from its text. Classes with a field `text` extend it."""

    __slots__ = ()
    text: str

    @property
    def reasoning(self) -> str:
        """Chain of thought; empty if the tags are missing or unclosed."""
        return split_think(self.text)[0]

    @property
    def response(self) -> str:
        """Text after the chain; the whole text if there is no closed chain."""
        return split_think(self.text)[1]
