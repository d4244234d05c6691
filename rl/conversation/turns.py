"""Turns of a conversation, and the part of an answer that can be shown while it is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rl.audio import check_decodable
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import AUDIO_PATCH, Clip, Message


@dataclass
class Turns:
    """The turns of a conversation, with the clips heard in them.

    Example:
        >>> turns = Turns()
        >>> turns.ask("What is 2 + 2?")
        >>> turns.answer("4")
        >>> [message.role for message in turns.messages]
        ['user', 'assistant']
    """

    system: str | None = None
    messages: list[Message] = field(default_factory=list[Message])
    clips: list[Clip] = field(default_factory=list[Clip])
    waiting: list[Clip] = field(default_factory=list[Clip])
    """Clips that the next question brings along."""

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system turn."""
        self.messages = [Message("system", self.system)] if self.system else []
        self.clips, self.waiting = [], []

    def hear(self, path: str) -> None:
        """Add a clip to the next question. Raises ValueError for a file that is no sound."""
        file = Path(os.path.expanduser(path))
        if not os.path.isfile(file):  # unlike Path.is_file it answers for any text
            raise ValueError(f"{path}: no such file; name a sound file")
        clip = Clip(str(file))
        check_decodable(clip)
        self.waiting.append(clip)

    def ask(self, text: str) -> None:
        """Add a turn of the user. The clips stand where the text has marks, as many as there are clips; else before it."""
        if text.count(AUDIO_PATCH) != len(self.waiting):
            text = AUDIO_PATCH * len(self.waiting) + text.replace(AUDIO_PATCH, "")
        self.messages.append(Message("user", text))
        self.clips += self.waiting
        self.waiting = []

    def answer(self, text: str) -> None:
        """Add a turn of the assistant."""
        self.messages.append(Message("assistant", text.replace(AUDIO_PATCH, "")))  # a mark would stand for a clip

    def take_back(self) -> None:
        """Remove the last question, which could not be answered; its clips go with it."""
        clip_count = self.messages.pop().content.count(AUDIO_PATCH)
        self.clips = self.clips[: len(self.clips) - clip_count]


@dataclass
class Shown:
    """The part of an answer that was shown. `show` gets pieces of text, and whether each belongs to the chain of thought."""

    show: Callable[[str, bool], None]
    chain: int = 0
    """Characters of the chain that were shown."""
    answer: int = 0

    def update(self, text: str, is_whole: bool = False) -> None:
        """Show what is new in `text`, all that was written so far; `is_whole`: nothing will follow."""
        chain, answer = split_partial(text, is_whole)
        if len(chain) > self.chain:
            self.show(chain[self.chain :], True)
            self.chain = len(chain)
        if len(answer) > self.answer:
            if self.chain and not self.answer:
                self.show("\n", False)
            self.show(answer[self.answer :], False)
            self.answer = len(answer)


def split_partial(text: str, is_whole: bool) -> tuple[str, str]:
    """Return (chain, answer) of an answer that may still be written, without tags and without what may become one."""
    if not is_whole:
        text = text.rstrip("\ufffd")  # the beginning of a character whose other bytes are still to come
        text = _without_beginning(text, THINK_CLOSE if THINK_OPEN in text else THINK_OPEN)
    head, opening, rest = text.partition(THINK_OPEN)
    if not opening or head.strip():
        return "", text
    chain, closing, answer = rest.partition(THINK_CLOSE)
    if not closing and not is_whole:
        chain = chain.rstrip()  # line breaks before the tag that ends it
    return (chain.strip("\n") if closing else chain.lstrip("\n")), answer.lstrip("\n")


def _without_beginning(text: str, tag: str) -> str:
    """Return the text without the beginning of a tag at its end."""
    length = next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)
    return text[: len(text) - length]
