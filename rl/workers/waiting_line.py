"""The line in which runs on one Ray cluster wait for devices, so that they get them in the order in which they came."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from rollouts.remote import last_line

NAME = "groundtone-line"
"""Name of the line's actor, and of its Ray namespace."""
# More than one attempt to reserve takes (`rl.workers.reservation.ATTEMPT_S`), during which a run does not ask.
SILENCE_S = 60.0
"""Seconds after which a run that no longer asks has left the line: it was killed."""
ANSWER_S = 60.0
"""Longest time in which the line's actor starts and answers, on a machine that is busy too."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Devices that somebody holds, perhaps on one node (its id)."""

    holder: str
    cpus: float
    gpus: float
    node: str = ""

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is held."""
        return not (self.cpus or self.gpus)


@dataclass(slots=True)
class Waiter:
    """A run in the line."""

    asked_at: float
    holding: Holding
    """Devices of its own process while it waits."""
    is_sent_away: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """Place of a run in the line."""

    before: int
    """Runs that came before it and still wait."""
    is_sent_away: bool = False
    """True if the run holds what the first one waits for and must leave: otherwise both would wait for ever."""


class Line:
    """The runs that wait, the first one first; an actor that belongs to no run."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self.silence_s = silence_s
        self.waiters: dict[str, Waiter] = {}
        """The run of each ticket, in the order they came."""

    def ask(self, ticket: str, holding: Holding) -> Turn:
        """Return the place of a run, which joins the line with its first question."""
        now = time.monotonic()
        self.waiters.setdefault(ticket, Waiter(now, holding)).asked_at = now
        self.waiters = {name: it for name, it in self.waiters.items() if now - it.asked_at < self.silence_s}
        return Turn(list(self.waiters).index(ticket), self.waiters[ticket].is_sent_away)

    def holdings_behind(self, ticket: str) -> list[Holding]:
        """Return what runs that came after this one hold while they wait."""
        names = list(self.waiters)
        behind = names[names.index(ticket) + 1 :] if ticket in names else []
        return [self.waiters[name].holding for name in behind if not self.waiters[name].holding.is_empty]

    def send_last_away(self, ticket: str) -> None:
        """Have the last run behind this one that holds something leave the line."""
        for name, waiter in reversed(self.waiters.items()):
            if name == ticket:
                return  # those behind it have left by themselves
            if not waiter.holding.is_empty:
                waiter.is_sent_away = True
                return

    def leave(self, ticket: str) -> bool:
        """Forget a run; return whether nobody is left."""
        self.waiters.pop(ticket, None)
        return not self.waiters


class Ticket:
    """A run's place in the line of its cluster, while the block lasts; `shared` says whether other runs can be there, `holding`
    what the run's own process holds meanwhile."""

    def __init__(self, shared: bool, holding: Holding) -> None:
        self.shared, self.holding, self.name = shared, holding, secrets.token_hex(8)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.shared and ray.is_initialized():
            line = _find_line()
            try:
                if ray.get(line.leave.remote(self.name), timeout=ANSWER_S):
                    ray.kill(line)  # nothing of ours stays on the cluster
            except (RayActorError, GetTimeoutError):
                return  # another run, the last, has ended it; or it cannot start

    def turn(self) -> Turn:
        """Return the run's place. Raises ValueError where the line does not answer for `ANSWER_S`."""
        if not self.shared:
            return Turn(0)
        until = time.monotonic() + ANSWER_S
        while True:
            try:
                return cast("Turn", ray.get(_find_line().ask.remote(self.name, self.holding), timeout=ANSWER_S))
            except (RayActorError, GetTimeoutError) as error:
                if time.monotonic() >= until:
                    raise ValueError(
                        f"cluster: the process in which runs line up does not answer for {ANSWER_S:g} s "
                        f"({last_line(error)}); see that all nodes have the same versions of Groundtone and Ray, "
                        "then run again"
                    ) from error
                time.sleep(0.5)  # the last run of the line may have just ended it: a new one begins

    def holdings_behind(self) -> list[Holding]:
        """Return what runs that came later hold while they wait."""
        return self._ask("holdings_behind", self.name) or []

    def send_last_away(self) -> None:
        """Have the last run that came later and holds something leave."""
        self._ask("send_last_away", self.name)

    def _ask(self, method: str, *arguments: object) -> Any:
        """Return what the line answers; None where there is none just now."""
        if not self.shared:
            return None
        try:
            return ray.get(getattr(_find_line(), method).remote(*arguments), timeout=ANSWER_S)
        except (RayActorError, GetTimeoutError):
            return None


def _find_line() -> Any:
    actor: Any = ray.remote(Line)
    # Detached, since it outlives the run that starts it; got where it exists, since two runs may start it at once; and
    # without CPUs, of which the cluster may have none left.
    options = {"name": NAME, "namespace": NAME, "lifetime": "detached", "get_if_exists": True, "num_cpus": 0}
    return actor.options(**options).remote()
