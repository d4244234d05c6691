"""Holds one session of a harness: what it has asked, what was answered, and what an engine still answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from rl.types import Prompt
from rollouts.harness.asks import Ask
from rollouts.harness.conversation import Opening, Piece
from rollouts.harness.settings import AskError
from rollouts.sources import Key

Body = Mapping[str, object]
"""JSON of an answer."""


@dataclass(eq=False)
class Running:
    """A question that an engine is answering."""

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
    """Temperature of its answers; if a run learns from them, all of them must have it."""
    ends: tuple[int, ...]
    pieces: list[Piece] = field(default_factory=list[Piece])
    running: dict[Key, Running] = field(default_factory=dict[Key, Running])
    questions: int = 0
    last_use: float = field(default_factory=time.monotonic)
    """Time at which it last asked, was answered, or began."""
    seeds: Counter[str] = field(default_factory=Counter[str])
    """Number of times that the same conversation was asked."""
    notes: Counter[str] = field(default_factory=Counter[str])
    """Questions that were refused, and conversations that began anew, by reason."""

    def temperature_of(self, ask: Ask, is_free: bool) -> float:
        """Return the temperature of the answer to a question, which may choose it if it `is_free`. Raises AskError."""
        if ask.temperature is None or is_free:
            return self.temperature if ask.temperature is None else ask.temperature
        if not self.temperature:  # the greedy pass of an evaluation: nothing is learned from it
            self.notes["greedy"] += ask.temperature > 0
        elif ask.temperature != self.temperature:
            raise AskError(
                "temperature",
                f"temperature: {ask.temperature:g} is not that of the stage, {self.temperature:g}, at which its samples "
                "are learned from; leave it out, or set it in the recipe",
            )
        return self.temperature
