"""The text of tokens that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

CHARACTER = 4
"""Bytes of the longest character, and so the tokens that may be its beginning."""
LONGEST_CHARACTER = 2 * CHARACTER
"""Tokens behind which bytes that are no text are passed on."""


class GrowingText:
    """Turns tokens into text that is never taken back, and decodes each of them a few times only.

    Example:
        >>> text = GrowingText(lambda ids: bytes(ids).decode("utf-8", "replace"))
        >>> [text.add([104]), text.add([0xc3]), text.add([0xa9]), text.rest()]
        ['h', '', 'é', '']
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []  # the last piece, which gives the newest its context, and what came behind it
        self.told = 0  # how many of them are that piece

    def add(self, ids: Sequence[int]) -> str:
        """Return the text that these tokens complete: the beginning of a character waits for its other bytes."""
        self.ids += ids
        # Without the last tokens, where they are the beginning of a character.
        for end in range(len(self.ids), max(self.told, len(self.ids) - CHARACTER), -1):
            text = self._new(end)
            if text and not text.endswith("\ufffd"):
                return self._tell(end)
        return self._tell(len(self.ids)) if len(self.ids) - self.told > LONGEST_CHARACTER else ""

    def rest(self) -> str:
        """Return what is left, where no more tokens follow."""
        return self._tell(len(self.ids))

    def _new(self, end: int) -> str:
        # Some tokenizers drop a blank at the beginning of what they decode, so the piece before stands in front.
        before = self.decode(self.ids[: self.told])
        return self.decode(self.ids[:end])[len(before) :]

    def _tell(self, end: int) -> str:
        text = self._new(end)
        del self.ids[: self.told]  # an answer of hours keeps two pieces
        self.told = end - self.told
        return text
