"""The pool's records: samples that are being judged, and the worker processes that judge them."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from rewards.deadline import Watch
from rl.types import Verdict

Results = Mapping[int, Verdict]
"""Verdicts of a sample by the call (index into the pool's calls) that gave them; a call that was not reached is missing."""


@dataclass(slots=True, eq=False)
class Job:
    """A sample with the calls that must judge it."""

    ticket: int
    """Its number, which the answers of a worker must repeat."""
    calls: tuple[int, ...]
    """Indices into the pool's calls, in the order in which the worker makes them."""
    message: bytes
    """Bytes that are sent to the worker (`rewards.pool.worker`, wire protocol)."""
    callback: Callable[[Results], None]
    """Called once with the verdicts, with the pool's lock held."""
    results: dict[int, Verdict] = field(default_factory=dict[int, Verdict])
    """Verdicts so far."""

    @property
    def current_call(self) -> int:
        """The first call without a verdict: the one that the worker is making."""
        return next(call for call in self.calls if call not in self.results)


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process as the pool knows it."""

    number: int
    """Its name towards the forkserver; never used twice."""
    channel: socket.socket
    """The pool's end of its socket."""
    start_time: float
    """When it began its start or its current call (`time.monotonic`)."""
    watch: Watch | None
    """The deadline of its start or of its current call; None while it is idle."""
    pid: int = 0
    """Process id; 0 until its first message reports it."""
    ready: bool = False
    """True once it has loaded the verifiers."""
    jobs: deque[Job] = field(default_factory=deque[Job])
    """Jobs sent to it and not answered, in order: it works on the first."""
    unread: bytes = b""
    """The beginning of a line whose end has not arrived."""
    exiting: bool = False
    """True once it has announced that it exits, after a memory error."""


def parse_answer(message: list[object], worker: Worker) -> tuple[int, Verdict] | None:
    """Return (call, verdict) from a worker's answer about its current call, or None where the message is anything else."""
    if len(message) != 8 or not worker.jobs:
        return None
    # A verifier may have written this line into the channel, so that nothing about it can be taken for granted.
    ticket, call, score, parts, error, reason, read, _ = message
    job = worker.jobs[0]
    if ticket != job.ticket or call not in (job.current_call, -1) or not isinstance(score, float):
        return None
    if not isinstance(reason, str) or not isinstance(read, str) or not isinstance(error, str | None):
        return None
    if not isinstance(parts, dict):
        return None
    scores = cast(dict[str, object], parts)  # JSON has no other keys
    if not all(isinstance(part, float) for part in scores.values()):
        return None
    return job.current_call, Verdict(score, cast(dict[str, float], scores), error, reason, read)
