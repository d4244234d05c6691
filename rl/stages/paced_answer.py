"""One answer that is spoken while it is thought: the ids from which each of its segments goes on.

The formulation decoder writes the chain, `think` tokens a segment. The articulation decoder is given what there is of the chain,
closed by force, with what it has said so far, and says `speak` tokens more; once the chain has ended it is given the whole chain
and ends its answer (Mind-Paced Speaking, arXiv 2510.09592, section 3). Only token ids are put together, nothing is encoded
again. `rl.stages.pacing` measures such answers, `rl.realtime` serves them; both ask this module what comes next.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, get_args

from rl.think import THINK_CLOSE

if TYPE_CHECKING:
    from rollouts.chat_format import ChatFormat

Mode = Literal["wo", "tbs", "think_first", "speak_first"]
MODES: tuple[str, ...] = get_args(Mode)
TAIL = 16
"""Tokens at the end of a chain in which the beginning of its closing tag is looked for: bytes, the shortest ones, take 8."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Mode of an answer, and the tokens of its segments.

    Example: `Pace("think_first", think=80, speak=20)`.
    """

    mode: Mode
    think: int
    """Tokens of a segment of the chain."""
    speak: int
    """Tokens that are said for each segment."""

    @property
    def first_segments(self) -> int:
        """Segments of the chain that the first word waits for."""
        return 0 if self.mode in ("wo", "speak_first") else 1

    @property
    def segment(self) -> int:
        """Tokens of a segment, by which `tbs` has the whole chain in one."""
        return sys.maxsize if self.mode == "tbs" else self.think

    def tokens_before(self, chain: int) -> int:
        """Return the tokens that the first word waits for, of a chain of so many."""
        return min(chain, self.first_segments * self.segment)


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The chain of one answer, as the formulation decoder has written it so far."""

    chain: Sequence[int]
    """Ids before the tag that closes it."""
    whole: Sequence[int]
    """Ids up to the answer, with the closing tag as the model has written it; empty where it has not closed."""
    room: int
    """Tokens that the chain and the answer may have together."""

    @classmethod
    def read(cls, written: Sequence[int], chat: ChatFormat, room: int) -> Thoughts:
        """Return the thoughts in what a model wrote from the beginning of its chain on."""
        count = chat.chain_length(written)
        if count == len(written):
            # A turn that ended within its chain: the token that ends it is no thought.
            is_ended = bool(written) and written[-1] in chat.ends
            return Thoughts(written[:-1] if is_ended else written, (), room)

        def behind_tag(end: int) -> str | None:
            """Return the text behind the tag that closes the chain; None before its end."""
            text = chat.written(written[:end])
            return text[place:] if len(text) >= place else None

        # The last tag, as `chain_length` takes it: a chain may quote one.
        place = chat.written(written).rfind(THINK_CLOSE) + len(THINK_CLOSE)
        end = next(n for n in range(count + 1, len(written) + 1) if behind_tag(n) is not None)
        # The line break that belongs to the tag comes before the answer, where the model has written one.
        suffix = closing_suffix(chat)
        while end < len(written) and (text := behind_tag(end + 1)) and suffix.startswith(text):
            end += 1
        return Thoughts(written[:count], written[:end], room)

    def context(self, segments: int, size: int, closing: Sequence[int]) -> tuple[list[int], bool]:
        """Return (ids in front of the answer after so many segments, whether the chain has ended)."""
        # Without a segment nobody knows whether the chain will have any token at all.
        if self.whole and segments and segments * size >= len(self.chain):
            return list(self.whole), True
        thought = list(self.chain[: segments * size])
        return [*thought, *closing], len(thought) == len(self.chain) and segments > 0


def closing_suffix(chat: ChatFormat) -> str:
    """Return the text behind the closing tag that belongs to it: a line break, in most templates."""
    return chat.written(chat.closing).rpartition(THINK_CLOSE)[2]


@dataclass(slots=True)
class Thinking:
    """A chain that is being written: what of it can no longer change."""

    chat: ChatFormat
    room: int
    written: list[int] = field(default_factory=list[int])
    thoughts: Thoughts = field(init=False)
    """Thoughts without what may become the tag that closes them."""
    is_over: bool = False

    def __post_init__(self) -> None:
        self.thoughts = Thoughts((), (), self.room)

    def add(self, tokens: Sequence[int], is_finished: bool) -> None:
        """Take what was written next; `is_finished`: nothing follows."""
        for i, token in enumerate(tokens, 1):
            if not self.is_over:
                self._add(token, is_finished and i == len(tokens))
        if is_finished and not self.is_over:  # it ended without another token
            self._close(self.written)

    def _add(self, token: int, is_last: bool) -> None:
        had_tag = THINK_CLOSE in self.chat.written(self.written[-TAIL:])
        self.written.append(token)
        tail = self.written[-TAIL - 1 :]
        text = self.chat.written(tail)
        if THINK_CLOSE in text:
            # The first tag closes a chain that is read along; a line break behind it belongs to it.
            behind, suffix = text.partition(THINK_CLOSE)[2], closing_suffix(self.chat)
            if not suffix.startswith(behind):
                # Where the tag was there before, this token belongs to the answer. One that ends the tag and begins the
                # answer cannot be cut, and stays.
                self._close(self.written[:-1] if had_tag else self.written)
            elif is_last or behind == suffix:
                self._close(self.written)
            return
        if is_last:
            self._close(self.written)
            return
        held = _length_of_beginning(text)
        settled = len(self.written)
        if held:
            place = len(text) - held
            # Back to the end of a token: the beginning of the tag may stand in the middle of one.
            settled -= len(tail) - max(n for n in range(len(tail)) if len(self.chat.written(tail[:n])) <= place)
        # A slice of all that is settled, not of what is new: a token that began like a tag and was none is settled now.
        self.thoughts = Thoughts(self.written[:settled], (), self.room)

    def _close(self, written: Sequence[int]) -> None:
        self.thoughts, self.is_over = Thoughts.read(written, self.chat, self.room), True

    def has(self, segments: int, size: int) -> bool:
        """Return whether so many segments are there, and it is known whether the chain goes on behind them."""
        return segments == 0 or self.is_over or len(self.thoughts.chain) > segments * size


def _length_of_beginning(text: str) -> int:
    """Return the length of the beginning of a closing tag at the end of a text."""
    return next((n for n in range(len(THINK_CLOSE) - 1, 0, -1) if text.endswith(THINK_CLOSE[:n])), 0)


@dataclass(frozen=True, slots=True)
class Turn:
    """The next request of the articulation decoder."""

    context: Sequence[int]
    """Ids behind the prompt from which it goes on."""
    most_tokens: int | None
    """Tokens that it says at most; None: until it ends its turn, or the room is used up."""
    number: int
    """Segments of the chain that it was given, by which the seeds of its turns differ."""


@dataclass(slots=True)
class Speech:
    """An answer that grows segment by segment."""

    pace: Pace
    tokens: list[int] = field(default_factory=list[int])
    turns: int = 0
    prefill: int = 0
    """Tokens that the articulation decoder read anew: those of its context that its context of the turn before does not begin
    with."""
    context: list[int] = field(default_factory=list[int])
    is_over: bool = False
    is_last: bool = False
    """True if the turn under way is the last."""

    @property
    def segments(self) -> int:
        """Segments of the chain that the next turn waits for."""
        return self.pace.first_segments + self.turns

    def next_turn(self, thoughts: Thoughts, closing: Sequence[int]) -> Turn | None:
        """Return what is asked for next; None where the answer is over, as where the chain has left no room for it."""
        if self.is_over:
            return None
        number = self.segments
        ids, has_ended = thoughts.context(number, self.pace.segment, closing)
        if len(ids) + len(self.tokens) >= thoughts.room:
            self.is_over = True
            return None
        self.is_last = has_ended or self.pace.mode == "wo"
        return Turn(self.open(ids), None if self.is_last else self.pace.speak, number)

    def open(self, thoughts: Sequence[int]) -> list[int]:
        """Return the context of the next turn, and count what is read."""
        context = [*thoughts, *self.tokens]
        known = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.context, context, strict=False)))
        self.prefill += len(context) - known
        self.context, self.turns = context, self.turns + 1
        return context

    def add(self, tokens: Sequence[int], is_cut: bool) -> None:
        """Take what the turn has said; `is_cut`: its tokens were used up before it ended."""
        self.tokens += tokens
        # It goes on after the next segment, unless it has ended its turn.
        self.is_over = self.is_last or not is_cut
