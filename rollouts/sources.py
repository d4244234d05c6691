"""Defines the source of a sampler's samples, as its dispatcher sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from rl.types import Prompt, Rollout
from rollouts.requests import Completion, Request

Key = tuple[int, int]
"""(number of the group, index of the sample in it), as a request has it."""
Finished = Mapping[Key, Rollout]
"""Samples that are finished, by their keys."""


class Source(Protocol):
    """The samples in the making of a sampler: `Episodes`, or the sessions of a harness, which asks the engines itself."""

    @property
    def begins_with_prompt(self) -> bool:
        """True where a sample begins with its prompt; else it begins with what a harness asks."""
        ...

    @property
    def waiting(self) -> bool:
        """True while a sample waits for somebody beside the engines."""
        ...

    def begin(self, prompt: Prompt, request: Request, seed: int, limit: int, opening: int = 0) -> Request:
        """Take note of a sample that begins, and return its first request."""
        ...

    def add(self, completion: Completion, engine: int | None = None) -> Rollout | None:
        """Take in what an engine has written; return the rollout if it is finished."""
        ...

    def advance(self, timeout_s: float = 0.0) -> tuple[list[Request], Finished]:
        """Return (requests that go on, rollouts that are finished); wait up to `timeout_s` for the first."""
        ...

    def drop(self, keys: Collection[Key]) -> set[Key]:
        """Forget samples; return the keys of their requests."""
        ...

    def take_abandoned(self) -> set[Key]:
        """Return the keys of requests in flight whose answers nobody waits for any more, once each."""
        ...
