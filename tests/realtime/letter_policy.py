"""A policy of letters that needs no engine: each token follows from the ids before it, as a model's does at temperature 0."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.tokenizer import VOCABULARY, byte_tokenizer
from rl.data.chat import Chat
from rl.think import THINK_CLOSE
from rollouts.requests import Piece, Request

CHAT = Chat(byte_tokenizer())
CLOSE = VOCABULARY[THINK_CLOSE]
LETTERS = CHAT.tokenizer.encode("abcdefgh <>/tink\n.é", add_special_tokens=False)


def next_token(ids: Sequence[int], closes_in: int = 18, ends_in: int = 24) -> int:
    """Return the token that follows, or the one that closes the chain or ends the turn: one of so many, by chance."""
    number = int.from_bytes(hashlib.blake2b(repr(list(ids)).encode(), digest_size=4).digest(), "big")
    has_closed = CLOSE in ids
    if not has_closed and number % closes_in == 0:
        return CLOSE
    if has_closed and number % ends_in == 0:
        return CHAT.end
    return LETTERS[number // 7 % len(LETTERS)]


def write(request: Request) -> list[int]:
    """Return all that the policy writes behind a request's ids."""
    written: list[int] = []
    while len(written) < request.max_tokens:
        written.append(next_token([*request.tokens, *written]))
        if written[-1] in request.ends:
            break
    return written


@dataclass
class LetterEngine:
    """Writes several samples side by side, a few tokens of each at a step."""

    step_s: float = 0.0
    tokens_a_step: int = 1
    streams: dict[str, Request] = field(default_factory=dict[str, Request])
    written: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    asked: list[tuple[str, Request]] = field(default_factory=list[tuple[str, Request]])
    """All that it was ever given."""
    ended: list[str] = field(default_factory=list[str])
    broken: threading.Event = field(default_factory=threading.Event)

    def begin_stream(self, name: str, request: Request) -> None:
        assert name not in self.streams, "each sample has a name of its own"
        if any(clip.data == b"broken" for clip in request.clips):
            raise ValueError("clip: no audio that can be read")
        self.streams[name], self.written[name] = request, []
        self.asked.append((name, request))

    def step_streams(self) -> list[Piece]:
        if self.broken.is_set():
            raise RuntimeError("out of memory")
        time.sleep(self.step_s)
        pieces: list[Piece] = []
        for name, request in list(self.streams.items()):
            piece: list[int] = []
            reason = ""
            for _ in range(self.tokens_a_step):
                piece.append(next_token([*request.tokens, *self.written[name], *piece]))
                if piece[-1] in request.ends or len(self.written[name]) + len(piece) == request.max_tokens:
                    reason = "stop" if piece[-1] in request.ends else "length"
                    break
            self.written[name] += piece
            if reason:
                del self.streams[name]
            pieces.append(Piece(name, piece, reason, 0))
        return pieces

    def end_streams(self, names: Sequence[str]) -> None:
        for name in names:
            self.ended.append(name)
            self.streams.pop(name, None)
