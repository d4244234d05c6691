"""The line in which runs on one Ray cluster wait for devices, so that they get them in the order in which they came."""

from __future__ import annotations

import secrets
import time
from types import TracebackType
from typing import Any, cast

import ray
from ray.exceptions import RayActorError

NAME = "groundtone-line"
"""Name of the line's actor, and of its Ray namespace."""
SILENCE_S = 60.0
"""Seconds after which a run that no longer asks has left the line: it was killed."""


class Line:
    """The runs that wait, the first one first; an actor that belongs to no run."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self.silence_s = silence_s
        self.asked_at: dict[str, float] = {}
        """Ticket of each run, in the order they came -> when it last asked."""

    def runs_before(self, ticket: str) -> int:
        """Return how many runs came before this one and still wait."""
        now = time.monotonic()
        self.asked_at[ticket] = now
        self.asked_at = {name: at for name, at in self.asked_at.items() if now - at < self.silence_s}
        return list(self.asked_at).index(ticket)

    def leave(self, ticket: str) -> bool:
        """Forget a run; return whether nobody is left."""
        self.asked_at.pop(ticket, None)
        return not self.asked_at


class Ticket:
    """A run's place in the line of its cluster, while the block lasts; `shared` says whether other runs can be there."""

    def __init__(self, shared: bool) -> None:
        self.shared, self.name = shared, secrets.token_hex(8)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.shared and ray.is_initialized():
            line = _find_line()
            try:
                if ray.get(line.leave.remote(self.name)):
                    ray.kill(line)  # nothing of ours stays on the cluster
            except RayActorError:
                return  # another run, the last, has ended it

    def runs_before(self) -> int:
        """Return how many runs are before this one."""
        while self.shared:
            try:
                return cast("int", ray.get(_find_line().runs_before.remote(self.name)))
            except RayActorError:  # the last run of the line has just ended it: a new one begins
                time.sleep(0.1)
        return 0


def _find_line() -> Any:
    actor: Any = ray.remote(Line)
    options = {"name": NAME, "namespace": NAME, "lifetime": "detached", "get_if_exists": True, "num_cpus": 0}
    return actor.options(**options).remote()
