"""Runs verifiers in a pool of killable processes.

One thread of the parent hands samples out to the workers, reads their answers and enforces the deadlines. Each worker
judges one sample at a time, so a hang, a crash or a memory bomb costs exactly the sample that caused it: the worker is
killed with all that it started, and the samples that it had not begun are handed out again, or all if the forkserver dies.
"""

from __future__ import annotations

import json
import pickle
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from rewards.contract import GoldCase, describe_memory_error
from rewards.deadline import Deadline, Watch
from rewards.pool.forkserver import ForkServer, describe_exit
from rewards.pool.jobs import START, Job, JobQueue, Results, Worker, parse_answer
from rewards.pool.judging import Judging
from rewards.pool.work import Call, Work
from rewards.pool.worker import HEAD, Setup

# Most samples sent to a worker at once, or 20 ms of work: a hang delays all of them, too few keep the worker waiting.
_CHUNK, _CHUNK_S = 32, 0.02
_MAX_FAILED_STARTS = 3  # workers in a row that die while they start
_WALL_PER_CPU_S = 6  # wall-clock seconds for each second of CPU time, for verifiers that wait for a server
JUDGING = Judging()


class Pool:
    """`workers` processes that each have loaded all of `calls`. All public methods may be called from any thread."""

    def __init__(
        self,
        calls: Sequence[Call],
        folder: Path | None = None,
        *,
        workers: int,
        deadline_s: float,
        memory_mb: int,
        output: Path | None = None,
        work: Work = JUDGING,
        wait_per_cpu_s: float = _WALL_PER_CPU_S,
        seconds_per_call: float = 0.001,  # a guess, until some are measured
    ) -> None:
        self.restarts = self.timeouts = 0
        """Number of workers lost after their start, and how many of these were killed at the deadline."""
        self.failure: ValueError | None = None
        """Reason for which the pool cannot judge any more; None while it can."""
        self.gold: list[list[GoldCase] | None] | None = None
        """Gold cases of each call's verifier, None for one without; None until the first worker has started."""
        self.condition = threading.Condition()
        """Lock of the pool; notified after every verdict and when the pool fails."""
        self.deadline = Deadline(deadline_s, wait_per_cpu_s * deadline_s)
        """Time limits of one call."""
        self.memory_reason = describe_memory_error(memory_mb)
        """Error of a call that used up its memory."""
        self.queue = JobQueue()
        """Samples that no worker has received yet."""
        self._size = workers
        self._names = ", ".join(dict.fromkeys(call.verifier for call in calls))
        self._setup = Setup(work, tuple(calls), folder, memory_mb, output)
        self._workers: dict[int, Worker] = {}
        self._forkserver: ForkServer | None = None
        self._ticket_count = self._worker_count = self._failed_starts = 0
        self._seconds_per_call = seconds_per_call  # running mean
        self._closing = False
        self._selector = selectors.DefaultSelector()
        # A byte through this pair wakes the pool's thread, which otherwise sleeps until a worker answers or is late.
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="verifiers", daemon=True)
        self._thread.start()

    def submit(self, sample: object, calls: tuple[int, ...], callback: Callable[[Results], None]) -> None:
        """Judge a sample by some of the calls, without waiting; the pool's thread passes the verdicts to `callback`,
        with the lock held. The pool's `Work` defines what a sample is. Raises ValueError if the pool has failed."""
        body = pickle.dumps((calls, sample), protocol=pickle.HIGHEST_PROTOCOL)
        with self.condition:
            if self.failure is not None:
                raise self.failure
            assert not self._closing, "the pool is closed"
            self._ticket_count += 1
            message = HEAD.pack(self._ticket_count, len(body)) + body
            self.queue.append(Job(self._ticket_count, calls, message, callback))
            was_empty = len(self.queue) == 1
        if was_empty:  # otherwise the thread was woken for an earlier sample
            self._wake_sender.send(b"!")

    def close(self) -> None:
        """Kill the workers and drop the samples that have no verdict."""
        with self.condition:
            if self._closing:
                return
            self._closing = True
        self._wake_sender.send(b"!")
        self._thread.join()
        for resource in (self._selector, self._wake_receiver, self._wake_sender):
            resource.close()

    def _run(self) -> None:
        """Serve until the pool closes or fails; the body of the pool's thread."""
        try:
            while not self._closing:
                self._start_workers()
                self._hand_out()
                due = min((worker.watch.next_check for worker in self._workers.values() if worker.watch), default=None)
                timeout_s = None if due is None else max(0.0, due - time.monotonic())
                for key, _ in self._selector.select(timeout_s):
                    match key.data:
                        case Worker():
                            self._read(key.data)
                        case ForkServer():
                            self._lose_forkserver(key.data)
                        case _:
                            self._wake_receiver.recv(4096)
                self._enforce_deadlines(time.monotonic())
        except ValueError as error:  # the verifiers do not start
            self._fail(error)
        except BaseException as error:  # a bug in this module must not leave its callers waiting for ever
            self._fail(ValueError(f"the verifiers' pool failed: {type(error).__name__}: {error}"))
            raise
        finally:
            for worker in self._workers.values():
                worker.channel.close()
            if self._forkserver is not None:
                self._forkserver.close()

    def _fail(self, error: ValueError) -> None:
        with self.condition:
            self.failure = error
            self.condition.notify_all()

    def _start_workers(self) -> None:
        """Fork the workers that are missing."""
        while len(self._workers) < self._size:
            if self._forkserver is None:
                self._forkserver = ForkServer(self._setup)
                self._selector.register(self._forkserver.sentinel, selectors.EVENT_READ, self._forkserver)
            self._worker_count += 1
            worker = self._forkserver.fork(self._worker_count)
            if worker is None:
                self._lose_forkserver(self._forkserver, is_starting=True)
            else:
                self._workers[worker.number] = worker
                self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _hand_out(self) -> None:
        """Send queued samples to the idle workers, to each about its share of them."""
        for worker in self._workers.values():
            if not worker.ready or worker.jobs:
                continue
            with self.condition:
                busy = [worker.jobs[0] for worker in self._workers.values() if worker.jobs]
                share = -(-len(self.queue) // self._size)  # rounded up
                count = min(share, _CHUNK, max(1, int(_CHUNK_S / max(self._seconds_per_call, 1e-6))))
                worker.jobs.extend(self.queue.take(count, busy, worker.is_fresh))
            if worker.jobs:
                worker.begin_call(self.deadline)
                # An idle worker reads at once. A dead one is replaced by `_run`, which the end of its channel wakes.
                with suppress(OSError):
                    worker.channel.sendall(b"".join(job.message for job in worker.jobs))

    def _read(self, worker: Worker) -> None:
        """Read what a worker has written; replace it if it has ended or written something invalid."""
        if worker.number not in self._workers:  # lost with the forkserver after the selector reported it
            return
        try:
            data = worker.channel.recv(1 << 16)
        except OSError:
            data = b""
        *lines, worker.unread = (worker.unread + data).split(b"\n")
        valid = bool(data) and len(worker.unread) <= self._setup.work.longest_answer
        with self.condition:
            for line in lines:
                # A verifier may find the channel and write into it: from its line on nothing is trusted.
                valid = valid and self._handle_line(worker, line)
            self.condition.notify_all()
        if worker.exiting or not valid:
            self._replace(worker)

    def _handle_line(self, worker: Worker, line: bytes) -> bool:
        """Take one message of a worker; return False if it is not a valid one. Raises ValueError where the worker reports
        that a verifier cannot be loaded."""
        try:
            message: object = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if isinstance(message, list):
            return self._take_answer(worker, cast(list[object], message))
        if worker.ready or not isinstance(message, dict):
            return False
        report = cast(dict[str, object], message)
        if not worker.pid and "pid" in report:  # its first message, before any user's code runs in it
            worker.pid = cast(int, report["pid"])
            worker.watch = Watch(START, (worker.pid,), new_processes=True, start_time=worker.start_time)
        elif "failed" in report:
            raise ValueError(report["failed"])
        elif "ready" in report:
            self.gold = cast(list[list[GoldCase] | None], report["gold"])
            worker.ready, worker.watch, self._failed_starts = True, None, 0
        else:
            return False
        return True

    def _take_answer(self, worker: Worker, message: list[object]) -> bool:
        """Record a worker's verdict; return False if the message is no answer about its current call."""
        answer = parse_answer(message, worker, self._setup.work)
        if answer is None:
            return False
        job, (call, verdict) = worker.jobs[0], answer
        worker.exiting = bool(message[-1])  # after a memory error
        if worker.exiting and not job.is_second_try and self._setup.work.may_repeat:
            self.queue.try_again(worker.jobs)
            return True
        job.results[call] = verdict
        self._seconds_per_call += 0.1 * (time.monotonic() - worker.start_time - self._seconds_per_call)
        worker.is_fresh = False
        worker.begin_call(self.deadline)
        # -1: the sample could not be unpickled, so the calls after this one cannot read it either.
        if message[1] == -1 or len(job.results) == len(job.calls):
            worker.jobs.popleft()
            job.callback(job.results)
        if worker.exiting:  # its other samples are not to blame, and it will not judge them
            self.queue.put_back(worker.jobs)
        if not worker.jobs:
            worker.watch = None
        return True

    def _enforce_deadlines(self, now: float) -> None:
        """Replace the workers that have missed their deadline."""
        watches = [(worker, worker.watch) for worker in self._workers.values() if worker.watch]
        due = [(worker, watch) for worker, watch in watches if watch.next_check <= now]
        # This thread may itself be late: a worker whose answer is unread has met its deadline.
        answering = [key.data for key, _ in self._selector.select(0)] if due else []
        for worker, watch in due:
            reason = "" if worker in answering else watch.check()
            if reason and not worker.ready:
                raise ValueError(f"the verifiers {self._names} do not start: {reason}")
            if reason:
                self.timeouts += 1
                self._replace(worker, reason)

    def _replace(self, worker: Worker, reason: str = "") -> None:
        """Kill a worker, if it still lives, and remove it: `_start_workers` forks another. Its current call becomes an
        error, its other jobs are queued again. Raises ValueError after too many failed starts."""
        if self._forkserver is None or worker.number not in self._workers:
            return  # already lost with the forkserver
        status = self._forkserver.kill(worker.number)
        if status is None:
            return self._lose_forkserver(self._forkserver)
        self._drop(worker)
        reason = reason or describe_exit(status)
        if not worker.ready:
            return self._count_failed_start(reason)
        self.restarts += 1
        with self.condition:
            if worker.jobs:
                worker.fail_current_call(self._setup.work.failure(reason))
            self.queue.put_back(worker.jobs)
            self.condition.notify_all()

    def _drop(self, worker: Worker) -> None:
        """Forget a worker that is dead."""
        self._selector.unregister(worker.channel)
        self._workers.pop(worker.number).channel.close()

    def _lose_forkserver(self, forkserver: ForkServer, is_starting: bool = False) -> None:
        """Remove a dead forkserver with its workers. All samples that may be repeated are judged again; one during
        which this happens twice is an error: it may kill its parent. Raises ValueError as `_replace` does."""
        if forkserver is not self._forkserver:  # already noticed in another way
            return
        reason = forkserver.read_last_error()
        self._selector.unregister(forkserver.sentinel)
        forkserver.close()
        self._forkserver = None
        workers = list(self._workers.values())
        with self.condition:
            for worker in reversed(workers):
                self._drop(worker)
                self.restarts += worker.ready
                if worker.jobs and (worker.jobs[0].is_suspect or not self._setup.work.may_repeat):
                    worker.fail_current_call(self._setup.work.failure(describe_exit(None)))
                elif worker.jobs:
                    worker.jobs[0].is_suspect = True
                self.queue.put_back(worker.jobs)
            self.condition.notify_all()
        if is_starting or not all(worker.ready for worker in workers):
            self._count_failed_start(reason)

    def _count_failed_start(self, reason: str) -> None:
        self._failed_starts += 1
        if (count := self._failed_starts) >= _MAX_FAILED_STARTS:
            raise ValueError(f"{count} processes for the verifiers {self._names} died while starting: {reason}")
