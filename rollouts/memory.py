"""State of an engine's GPU memory, and the calls to vLLM that change it: pure, so that the order can be read and
tested without a GPU.

vLLM's memory has two parts, weights and KV cache. An engine beside trainers gives both away while these work. It wakes the
weights alone for a load, so that no cache stands beside the trainer's buckets, and the cache after it: one sleep a step.
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
        """Return the calls that give all away."""
        if not self.sleeps or self.asleep == {WEIGHTS, CACHE}:
            return []
        calls: list[Call] = []
        if self.asleep:  # vLLM takes an engine of which a part is awake for one that sleeps, and would do nothing
            calls.append(("wake_up", (sorted(self.asleep),)))
        self.asleep, self.lost_weights = {WEIGHTS, CACHE}, self.lost_weights or level == 2
        return [*calls, ("sleep", (level,))]

    def begin_load(self) -> Sequence[Call]:
        """Return the calls before weights are loaded."""
        if WEIGHTS not in self.asleep:
            return []
        self.asleep.discard(WEIGHTS)
        return [("wake_up", ([WEIGHTS],))]

    def end_load(self) -> Sequence[Call]:
        """Return the calls after weights were loaded: all of them, or the load has failed."""
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
