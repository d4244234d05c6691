"""Keeps the pool's records: samples that are being judged, and the worker processes that judge them."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.deadline import Deadline, Watch
from rewards.pool.work import Work

START = Deadline(cpu_s=120.0, wall_s=600.0)
"""Time limits of a worker's start, in which it imports the verifiers; a user's module may import torch."""
MOST_BYTES_AT_ONCE = 64 << 10
"""Bytes of several samples that are sent to a worker at once. The channel's buffer must hold them: a worker reads the second when
it has judged the first, and if that hangs, the pool's thread may not hang with it."""
Results = Mapping[int, Any]  # Any: verdicts where verifiers judge; the pool's work says what it answers
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
    results: dict[int, object] = field(default_factory=dict[int, object])
    """Verdicts so far."""
    is_second_try: bool = False
    """True once a worker has run out of memory on it; a fresh worker's answer is then final."""
    is_suspect: bool = False
    """True if the forkserver died while a worker judged it. It is judged again with no other sample beside it: if the
    forkserver dies once more, this sample has killed it."""

    @property
    def current_call(self) -> int:
        """The first call without a verdict: the one that the worker is making."""
        return next(call for call in self.calls if call not in self.results)


class JobQueue(deque[Job]):
    """Samples that no worker has received yet, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._for_fresh = deque[Job]()  # jobs for workers that have judged nothing yet

    def take(self, count: int, busy: Sequence[Job], is_fresh: bool) -> list[Job]:
        """Remove and return what an idle worker should judge next: up to `count` jobs that one sending holds, a suspect alone
        once no worker is busy, or nothing. `busy` are the jobs that workers judge now; a worker `is_fresh` that has judged none."""
        if any(job.is_suspect for job in busy):
            return []  # a suspect runs alone: if the forkserver dies again, no other sample can have killed it
        if is_fresh and self._for_fresh:
            return [self._for_fresh.popleft()]
        if self and self[0].is_suspect:
            return [] if busy else [self.popleft()]
        jobs, size = list[Job](), 0
        while len(jobs) < count and self and not self[0].is_suspect:
            size += len(self[0].message)
            if jobs and size > MOST_BYTES_AT_ONCE:  # a single one may be larger: an idle worker reads it at once
                break
            jobs.append(self.popleft())
        return jobs

    def try_again(self, jobs: deque[Job]) -> None:
        """Keep the first of a worker's jobs, on which it ran out of memory, for a fresh worker, and put the others
        back. Earlier samples may have filled the memory; the worker exits, so a fresh one will come."""
        job = jobs.popleft()
        job.is_second_try = True
        self._for_fresh.append(job)
        self.put_back(jobs)

    def put_back(self, jobs: deque[Job]) -> None:
        """Move jobs of a worker to the head of the queue, in their order."""
        # `extendleft` puts one before the other, and so turns their order round.
        self.extendleft(reversed(jobs))
        jobs.clear()


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process as the pool knows it."""

    number: int
    """Its name towards the forkserver; never used twice."""
    channel: socket.socket
    """The pool's end of its socket."""
    start_time: float
    """Time at which its start or its current call began (`time.monotonic`)."""
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
    is_fresh: bool = True
    """True until it has given its first verdict."""
    exiting: bool = False
    """True once it has announced that it exits, after a memory error."""

    def begin_call(self, deadline: Deadline) -> None:
        """Start the deadline of its next call."""
        self.watch = Watch(deadline, (self.pid,), new_processes=False)
        self.start_time = self.watch.start_time

    def fail_current_call(self, failure: object) -> None:
        """Give its current call this answer, and deliver the sample without the calls after it."""
        job = self.jobs.popleft()
        job.results[job.current_call] = failure
        job.callback(job.results)


def parse_answer(message: list[object], worker: Worker, work: Work) -> tuple[int, object] | None:
    """Return (call, answer) from a worker's message about its current call, or None where the message is anything else."""
    if len(message) != 4 or not worker.jobs:
        return None
    ticket, call, answer, _ = message
    job = worker.jobs[0]
    if ticket != job.ticket or call not in (job.current_call, -1):
        return None
    parsed = work.parse(answer)
    return None if parsed is None else (job.current_call, parsed)
