"""The text of tokens that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

LONGEST_CHARACTER = 8
"""Tokens behind which a text that is no text is passed on: the longest character takes four bytes."""


class GrowingText:
    """Turns tokens into text that is never taken back, and decodes each of them a few times only.

    Example:
        >>> text = GrowingText(lambda ids: bytes(ids).decode("utf-8", "replace"))
        >>> [text.add([104]), text.add([0xc3]), text.add([0xa9]), text.rest()]
        ['h', '', 'é', '']
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []
        self.start = 0  # from here on tokens are decoded: the last piece before the newest gives it its context
        self.told = 0  # tokens whose text was returned

    def add(self, ids: Sequence[int]) -> str:
        """Return the text that these tokens complete: the beginning of a character waits for its other bytes."""
        self.ids += ids
        text = self._new()
        is_half = text.endswith("\ufffd") and len(self.ids) - self.told <= LONGEST_CHARACTER
        return "" if not text or is_half else self._tell(text)

    def rest(self) -> str:
        """Return what is left, where no more tokens follow."""
        return self._tell(self._new())

    def _new(self) -> str:
        # Some tokenizers drop a blank at the beginning of what they decode, so the piece before stands in front.
        before = self.decode(self.ids[self.start : self.told])
        return self.decode(self.ids[self.start :])[len(before) :]

    def _tell(self, text: str) -> str:
        self.start, self.told = self.told, len(self.ids)
        del self.ids[: self.start]  # an answer of hours keeps two pieces
        self.told -= self.start
        self.start = 0
        return text
