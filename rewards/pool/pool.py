"""A pool of killable processes in which verifiers run.

One thread of the parent deals samples out to the workers, reads their answers and watches the clock. Each worker
judges one sample at a time, so a hang, a crash or a memory bomb costs exactly the sample that caused it: the worker is
killed with all that it started, another one is forked, and what it had not begun is dealt out again.
"""

from __future__ import annotations

import json
import pickle
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rewards.deadline import Deadline, Watch
from rewards.pool.forkserver import Nursery, cause
from rewards.pool.worker import HEAD, Call, Setup
from rl.types import Rollout, Verdict

_CHUNK, _CHUNK_S = 32, 0.02  # samples sent ahead to one worker: a hang delays these, few samples starve a fast verifier
_LONGEST_LINE = 1 << 20  # of a worker's answer, which `worker.plain` keeps far shorter
_STARTS = 3  # workers in a row that die while they start
_WAITING = 6  # seconds on the clock for each of CPU time: a load of six a core, or a verifier that waits for a server
_START = Deadline(cpu_s=120.0, wall_s=600.0)  # to import the verifiers; a user's module may bring torch along

Results = Mapping[int, Verdict]
"""What each call (index into the pool's calls) said of a sample; a call that was not reached is missing."""


@dataclass(slots=True, eq=False)
class _Job:
    ticket: int
    calls: tuple[int, ...]
    message: bytes
    done: Callable[[Results], None]
    results: dict[int, Verdict] = field(default_factory=dict[int, Verdict])

    @property
    def current(self) -> int:
        return next(call for call in self.calls if call not in self.results)


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    channel: socket.socket
    since: float
    watch: Watch | None
    """On its start or on the call that it is at; None while it is idle."""
    pid: int = 0
    """0 until it has said so."""
    ready: bool = False
    jobs: deque[_Job] = field(default_factory=deque[_Job])
    """Sent to it and not answered, in order: it works on the first."""
    unread: bytes = b""
    retired: bool = False


class Pool:
    """`workers` processes, each with every one of `calls` loaded. All public methods may be called from any thread.
    `changed` is notified whenever something is done; `failure` is set when the pool cannot go on at all."""

    def __init__(
        self, calls: Sequence[Call], folder: Path | None = None, *, workers: int, deadline_s: float, memory_mb: int
    ) -> None:
        self.restarts = self.timeouts = 0
        self.failure: ValueError | None = None
        self.gold: list[list[tuple[str, str | None, float, float]] | None] | None = None
        """For each call its own cases (pred, gold, least and greatest right score); None until the first worker is up."""
        self.changed = threading.Condition()
        self._size, self.deadline = workers, Deadline(deadline_s, _WAITING * deadline_s)
        self._names = ", ".join(dict.fromkeys(call.verifier for call in calls))
        self._setup = Setup(tuple(calls), folder, memory_mb)
        self._queue = deque[_Job]()
        self._workers: dict[int, _Worker] = {}
        self._nursery: Nursery | None = None
        self._tickets = self._numbers = self._failed_starts = 0
        self._seconds_each = 0.001  # running mean for one call
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._alarm, self._bell = socket.socketpair()
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="verifiers", daemon=True)
        self._thread.start()

    def submit(self, sample: Rollout | int, calls: tuple[int, ...], done: Callable[[Results], None]) -> None:
        """Have a sample judged by some of the calls, or the gold case `sample` by the one call given (`~sample`:
        without the arguments that the case lays over the call's). `done` is called by the pool's thread with `changed` held. Raises ValueError if the pool has failed."""
        body = pickle.dumps((calls, sample), protocol=pickle.HIGHEST_PROTOCOL)
        with self.changed:
            if self.failure is not None:
                raise self.failure
            assert not self._closing, "the pool is closed"
            self._tickets += 1
            self._queue.append(_Job(self._tickets, calls, HEAD.pack(self._tickets, len(body)) + body, done))
            idle = len(self._queue) == 1
        if idle:
            self._bell.send(b"!")

    @property
    def waiting(self) -> int:
        """Samples that no worker has been given yet."""
        return len(self._queue)

    def close(self) -> None:
        """Kill the workers; what is pending is dropped."""
        with self.changed:
            if self._closing:
                return
            self._closing = True
        self._bell.send(b"!")
        self._thread.join()
        for resource in (self._selector, self._alarm, self._bell):
            resource.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._fill()
                self._deal()
                now = time.monotonic()
                due = min((worker.watch.due for worker in self._workers.values() if worker.watch), default=None)
                for key, _ in self._selector.select(None if due is None else max(0.0, due - now)):
                    if key.data is None:
                        self._alarm.recv(4096)
                    else:
                        self._read(cast(_Worker, key.data))
                self._enforce(time.monotonic())
        except ValueError as error:  # the verifiers do not start
            self._fail(error)
        except BaseException as error:  # a fault of this module must not leave its callers waiting
            self._fail(ValueError(f"the verifiers' pool failed: {type(error).__name__}: {error}"))
            raise
        finally:
            for worker in self._workers.values():
                worker.channel.close()
            if self._nursery is not None:
                self._nursery.close()

    def _fail(self, error: ValueError) -> None:
        with self.changed:
            self.failure = error
            self.changed.notify_all()

    def _fill(self) -> None:
        """Fork the workers that are missing."""
        while len(self._workers) < self._size:
            if self._nursery is None:
                self._nursery = Nursery(self._setup)
            self._numbers += 1
            ours, theirs = socket.socketpair()
            ours.settimeout(_START.wall_s)
            worker = _Worker(self._numbers, ours, time.monotonic(), Watch(_START, (), fresh=False))
            with theirs:
                alive = self._nursery.fork(worker.number, theirs)
            if alive:
                self._workers[worker.number] = worker
                self._selector.register(ours, selectors.EVENT_READ, worker)
            else:
                ours.close()
                self._count_failed_start(self._nursery.last_words())
                self._nursery.close()
                self._nursery = None

    def _deal(self) -> None:
        for worker in list(self._workers.values()):
            if not worker.ready or worker.jobs:
                continue
            with self.changed:
                share = -(-len(self._queue) // self._size)
                count = min(share, _CHUNK, max(1, int(_CHUNK_S / max(self._seconds_each, 1e-6))))
                worker.jobs.extend(self._queue.popleft() for _ in range(count))
            if worker.jobs:
                self._begin(worker)
                try:  # it is idle, so it reads at once
                    worker.channel.sendall(b"".join(job.message for job in worker.jobs))
                except OSError:
                    self._lose(worker)

    def _begin(self, worker: _Worker) -> None:
        """It is at its next call from now on."""
        worker.watch = Watch(self.deadline, (worker.pid,), fresh=False)
        worker.since = worker.watch.since

    def _read(self, worker: _Worker) -> None:
        try:
            data = worker.channel.recv(1 << 16)
        except OSError:
            data = b""
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        sane = bool(data) and len(worker.unread) <= _LONGEST_LINE
        with self.changed:
            for line in lines:  # a verifier that has found the channel and written into it voids nothing said before
                sane = sane and self._hear(worker, line)
            self.changed.notify_all()
        if worker.retired or not sane:
            self._lose(worker)

    def _hear(self, worker: _Worker, line: bytes) -> bool:
        """Take one message of a worker; False if it is none."""
        try:
            message: Any = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if isinstance(message, list):
            answer = _answer(cast(list[Any], message), worker)
            if answer is None:
                return False
            job, (call, verdict) = worker.jobs[0], answer
            job.results[call] = verdict
            self._seconds_each += 0.1 * (time.monotonic() - worker.since - self._seconds_each)
            self._begin(worker)
            if message[1] < 0 or len(job.results) == len(job.calls):
                worker.jobs.popleft()
                job.done(job.results)
            if message[-1]:  # it ends after a memory error: the next in line is not to blame
                worker.retired = True
                self._give_back(worker)
            if not worker.jobs:
                worker.watch = None
        elif not worker.pid and isinstance(message, dict) and "pid" in message:  # no user's code has run in it yet
            worker.pid = cast(Any, message)["pid"]
            worker.watch = Watch(_START, (worker.pid,), fresh=True, since=worker.since)
        elif not worker.ready and isinstance(message, dict) and "failed" in message:
            raise ValueError(cast(Any, message)["failed"])
        elif not worker.ready and isinstance(message, dict) and "ready" in message:
            self.gold = cast(Any, message)["gold"]
            worker.ready, worker.watch, self._failed_starts = True, None, 0
        else:
            return False
        return True

    def _give_back(self, worker: _Worker) -> None:
        self._queue.extendleft(reversed(worker.jobs))
        worker.jobs.clear()

    def _enforce(self, now: float) -> None:
        late = [(worker, worker.watch) for worker in self._workers.values() if worker.watch and worker.watch.due <= now]
        answered = [key.data for key, _ in self._selector.select(0)] if late else []  # this thread may be the late one
        for worker, watch in late:
            if worker in answered:
                continue
            why = watch.missed()
            if why and not worker.ready:
                raise ValueError(f"the verifiers {self._names} do not start: {why}")
            if why:
                self.timeouts += 1
                self._lose(worker, why)

    def _lose(self, worker: _Worker, why: str = "") -> None:
        """Bury a worker that has died or must; the call that it was at is an error, the others are dealt again."""
        self._selector.unregister(worker.channel)
        worker.channel.close()
        del self._workers[worker.number]
        status = self._nursery.kill(worker.number) if self._nursery is not None else None
        if status is None and self._nursery is not None:  # it could not start, or a verifier has killed it
            if not worker.ready:
                why = self._nursery.last_words()
            self._nursery.close()
            self._nursery = None
        why = why or cause(status)
        if not worker.ready:
            self._count_failed_start(why)
            return
        self.restarts += 1
        with self.changed:
            if worker.jobs:
                job = worker.jobs.popleft()
                job.results[job.current] = Verdict(error=why)
                job.done(job.results)
            self._give_back(worker)
            self.changed.notify_all()

    def _count_failed_start(self, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _STARTS:
            raise ValueError(f"{_STARTS} processes for the verifiers {self._names} died while starting: {why}")


def _answer(message: list[Any], worker: _Worker) -> tuple[int, Verdict] | None:
    """What a worker says of the call that it is at; None where it says anything else."""
    if len(message) != 8 or not worker.jobs:
        return None
    ticket, call, score, parts, error, reason, read, _ = message
    current = worker.jobs[0].current
    sane = ticket == worker.jobs[0].ticket and call in (current, -1) and isinstance(score, float)
    sane = sane and isinstance(reason, str) and isinstance(read, str)
    sane = sane and isinstance(error, str | None) and isinstance(parts, dict)
    if not sane or not all(isinstance(part, float) for part in cast(dict[str, Any], parts).values()):
        return None
    return current, Verdict(score, cast(dict[str, float], parts), error, reason, read)
