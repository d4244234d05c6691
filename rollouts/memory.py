"""Plans the calls to vLLM that give away an engine's GPU memory and take it back; pure, so that tests need no GPU.

vLLM's memory has two parts, weights and KV cache. An engine that shares its GPU with trainers gives both away while
these work. For a load it wakes only the weights, so that the cache takes no memory while the trainer's buckets do, and
wakes the cache afterwards: one sleep for each step of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Level = Literal[1, 2]
"""1: the weights wait in host memory. 2: they are dropped, for a load that brings all of them anew."""
Call = tuple[str, tuple[Any, ...]]
"""A method of vLLM's engine and its arguments."""
WEIGHTS, CACHE = "weights", "kv_cache"


class Memory:
    """State of one engine's memory."""

    def __init__(self, sleeps: bool) -> None:
        self.sleeps = sleeps
        self.asleep: set[str] = set()  # parts that were given away
        self.lost_weights = False  # since a sleep of level 2, until a load

    def rest(self, level: Level) -> Sequence[Call]:
        """Return the calls that give both parts away."""
        if not self.sleeps or self.asleep == {WEIGHTS, CACHE}:
            return []
        calls: list[Call] = []
        if self.asleep:  # vLLM takes a partly awake engine for a sleeping one, and `sleep` would do nothing
            calls.append(("wake_up", (sorted(self.asleep),)))
        # They stay lost in a later sleep of level 1, as long as no load has come between.
        self.asleep, self.lost_weights = {WEIGHTS, CACHE}, self.lost_weights or level == 2
        return [*calls, ("sleep", (level,))]

    def begin_load(self) -> Sequence[Call]:
        """Return the calls before weights are loaded."""
        if WEIGHTS not in self.asleep:
            return []
        self.asleep.discard(WEIGHTS)
        return [("wake_up", ([WEIGHTS],))]

    def end_load(self) -> Sequence[Call]:
        """Return the calls after a load, which brings all weights or fails."""
        self.lost_weights = False
        return self._wake_rest()

    def begin_generation(self) -> Sequence[Call]:
        """Return the calls before the first request. Raises RuntimeError where the weights are gone."""
        if self.lost_weights:
            raise RuntimeError("the engine has dropped its weights: load them first")
        return self._wake_rest()

    def _wake_rest(self) -> Sequence[Call]:
        """Return the calls that bring back whatever sleeps."""
        if not self.asleep:
            return []
        tags, self.asleep = sorted(self.asleep), set()
        return [("wake_up", (tags,))]
