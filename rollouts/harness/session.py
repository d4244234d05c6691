"""One session of a harness: what it has asked, what was answered, and what an engine still answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from rl.types import Prompt
from rollouts.harness.asks import Ask
from rollouts.harness.conversation import Opening, Piece
from rollouts.sources import Key

Body = Mapping[str, object]
"""JSON of an answer."""


@dataclass(eq=False)
class Running:
    """A question that an engine answers."""

    ask: Ask
    opening: Opening
    future: Future[Body]
    number: int


@dataclass(eq=False)
class Session:
    """A sample in the making, or the work of a client that no run has asked for."""

    id: str
    key: Key
    prompt: Prompt
    seed: int
    limit: int
    """Tokens of the longest sequence."""
    temperature: float
    """Temperature of its answers; where a run learns from them, of all of them."""
    ends: tuple[int, ...]
    pieces: list[Piece] = field(default_factory=list[Piece])
    running: dict[Key, Running] = field(default_factory=dict[Key, Running])
    questions: int = 0
    last_question: float = field(default_factory=time.monotonic)
    """When it last asked, or began."""
    seeds: Counter[str] = field(default_factory=Counter[str])
    """How often the same conversation was asked."""
    notes: Counter[str] = field(default_factory=Counter[str])
    """Questions that were refused, and conversations that began anew, by reason."""
