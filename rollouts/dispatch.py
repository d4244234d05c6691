"""Requests dealt to several engines, and finished samples brought back, in the calling thread or in one of its own.

The thread is for work that goes on while the caller does something else: samples that are written while the policy
learns. At any time one thread alone deals, so that nothing here needs a lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, cast

from rollouts.pool import EnginePool
from rollouts.remote import CONTROL, Actor, fetch
from rollouts.requests import Completion, Request
from rollouts.sources import Finished, Source

if TYPE_CHECKING:
    from ray import ObjectRef

SLICE_S = 0.05
"""Seconds for which an engine runs before it reports what has ended, unless a pause cuts it short. A second call already
waits at the engine, so that it runs on during the report."""


class Dispatcher:
    """Deals requests to the engines of a pool. In the thread that deals, `deliver` takes what an engine has written, and
    `finish` the samples that ended with a reply of the environment, to which `episodes` go."""

    def __init__(
        self,
        pool: EnginePool,
        most_samples: int,
        deliver: Callable[[int, Sequence[Completion]], None],
        episodes: Source,
        finish: Callable[[Finished], None],
    ) -> None:
        """`most_samples` is what an engine is given at once, running or in its queue."""
        self.pool, self.most_samples, self.deliver = pool, most_samples, deliver
        self.episodes, self.finish = episodes, finish
        self.reissued_requests = 0
        """Requests that a second engine has begun anew, since the first one died."""
        self._queue = deque[Request]()
        self._running: list[dict[tuple[int, int], Request]] = [{} for _ in pool.engines]  # by engine, then by key
        self._calls: dict[ObjectRef[list[Completion]], int] = {}  # call in flight → its engine
        self._members: list[Actor] = list(pool.engines)  # those that the requests were dealt to
        self._dead = set[int]()  # engines that the thread has found dead, until its caller replaces them
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._period = time.time_ns()
        """Number of the time until the next change of weights: engines are told when it is over. By the clock, so that numbers
        rise for an engine whoever deals to it."""
        self._failure: BaseException | None = None  # of the thread, for its next caller

    @property
    def busy(self) -> bool:
        """True while there is anything to write by the present weights, or an answer to wait for."""
        # Calls without work too: only when all are back is no engine still stepping. And work without calls: `settle` takes all
        # calls back, and leaves at the engines what the next weights are to go on with.
        is_at_work = bool(self._calls) or any(self._running)
        return is_at_work or self.episodes.waiting or any(map(self._is_due, self._queue))

    def add(self, requests: Sequence[Request], first: bool = False) -> None:
        """Take requests in, before all others if they are to be the `first`. Raises ValueError where a replay has come too
        late for them."""
        self._check_cuts(requests)
        if first:
            self._queue.extendleft(reversed(requests))
        else:
            self._queue.extend(requests)

    def advance(self) -> None:
        """Deal what waits, wait for one engine's report, and deliver what has ended. Raises ValueError when more engines
        die than a pool replaces."""
        import ray
        from ray.exceptions import RayActorError

        # A new engine takes weights from the trainer, which is at work while the thread deals: its caller replaces.
        for i in [] if self._is_in_thread else sorted(self._dead):
            if self.pool.engines[i] is self._members[i]:  # else a load has replaced it
                self.pool.proof.check(i, self.pool.replace(i))
        self._forget_replaced()
        # Where no engine has anything to do, the environment is all that is waited for.
        has_engines = len(self._dead) < len(self._members)  # in the thread, which replaces none
        is_idle = not self._calls and not (has_engines and any(map(self._is_due, self._queue)))
        requests, finished = self.episodes.advance(SLICE_S if is_idle else 0.0)
        if abandoned := self.episodes.take_abandoned():
            self.drop(abandoned)
        self.add(requests, first=True)
        self.finish(finished)
        self._feed()
        if not self._calls:
            return
        call = cast("ObjectRef[list[Completion]]", ray.wait(list(self._calls), num_returns=1)[0][0])
        i = self._calls.pop(call)
        try:
            completions = fetch(call)
        except RayActorError:
            self._dead.add(i)
            self._requeue(i)
            return
        self._deliver(i, completions)

    def settle(self) -> None:
        """Advance until each sample has ended or, in a replay, waits for the next version."""
        while True:
            while self.episodes.waiting or any(map(self._is_due, self._queue)):
                self.advance()
            # What an engine ends may go on after its environment's reply, and is then due once more.
            for i, engine in enumerate(self.pool.engines):
                self._deliver(i, fetch(engine.settle.remote()))
            # Calls that were under way are back by now, an actor taking its calls in order. What they report is asked about too:
            # the next turn of such a sample may be this version's to write.
            calls, self._calls = self._calls, {}
            for call, i in calls.items():
                self._deliver(i, fetch(call))
            if not self.episodes.waiting and not any(map(self._is_due, self._queue)):
                return

    def drop(self, keys: set[tuple[int, int]]) -> None:
        """Drop these requests, wherever they are."""
        import ray

        self._queue = deque(request for request in self._queue if request.key not in keys)
        aborts: list[ObjectRef[None]] = []
        for i, engine in enumerate(self.pool.engines):
            if gone := keys & self._running[i].keys():
                aborts.append(engine.abort.remote(sorted(gone)))
                self._running[i] = {key: r for key, r in self._running[i].items() if key not in gone}
        # Behind them no slice for these samples is left at an engine: trainers that share its cores may come next.
        if aborts:
            ray.wait(aborts, num_returns=len(aborts))

    def drain(self) -> None:
        """Wait for the last reports of engines that have nothing more to write: then none of them is still stepping."""
        while self._calls and not any(self._running):
            self.advance()

    def run_on(self) -> None:
        """Go on dealing in a thread, until `pause`. Raises what an earlier one has failed with."""
        self.pause()
        self.drain()
        if not self.busy:
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="groundtone-dispatch", daemon=True)
        self._thread.start()

    def pause(self, at_once: bool = False) -> None:
        """End the thread, within a slice. With `at_once` it is within a step of the engines, which then write no more until they
        are next dealt to. Raises what the thread has failed with."""
        if self._thread is not None:
            self._stop.set()
            if at_once and self._thread.is_alive():
                self._end_period()
            self._thread.join()
            self._thread = None
            self._period = max(self._period + 1, time.time_ns())  # a clock that is set back would stop the engines
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _end_period(self) -> None:
        """Have the engines cut short what they were asked for in this period."""
        # Without it new weights would wait for the slice that each engine has begun, and for the one that waits there. The
        # calls go to all: which of them have work is for the thread to know, and it still runs.
        for i, engine in enumerate(self.pool.engines):
            if i not in self._dead:
                engine.end_period.options(concurrency_group=CONTROL).remote(self._period)

    def close(self) -> None:
        """End the thread before the engines are gone, whatever it has failed with."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)  # an engine that stands still is not waited for

    @property
    def _is_in_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.advance()
                if not self._calls and not self.episodes.waiting:  # all has ended, or waits for the caller
                    return
        except BaseException as error:  # the caller's, who raises it where it next waits for samples
            self._failure = error

    def _deliver(self, i: int, completions: Sequence[Completion]) -> None:
        # Of a request that was dropped meanwhile nobody wants the sample.
        wanted = [c for c in completions if self._running[i].pop(c.key, None) is not None]
        if wanted:
            self.deliver(i, wanted)

    def _feed(self) -> None:
        """Deal waiting requests evenly and keep two calls in flight on every engine that has work."""
        for i, engine in enumerate(self.pool.engines):
            if i in self._dead:
                continue
            # Two: while this thread reads the answer of one, the engine already steps for the other.
            while list(self._calls.values()).count(i) < 2:
                # An even share of all that is left, rounded up: a fast engine must not empty the queue at the end.
                share = -(-(len(self._queue) + sum(map(len, self._running))) // len(self.pool.engines))
                # In a replay samples that wait for a later version keep nobody from beginning.
                most = share if self._replays else min(share, self.most_samples)
                space = max(0, most - len(self._running[i]))
                suitable = (r for r in self._queue if self._is_due(r) and r.engine in (None, i))
                requests = list(islice(suitable, space))
                for request in requests:
                    self._queue.remove(request)
                self._running[i] |= {request.key: request for request in requests}
                if not self._running[i]:
                    break
                # The engine refuses unless it holds this version: no token is written by stale weights.
                self._calls[engine.advance.remote(self.pool.version, requests, SLICE_S, self._period)] = i

    def _is_due(self, request: Request) -> bool:
        """Return whether the present weights may begin the sample: in a replay those of the version that began it."""
        return not request.cuts or request.cuts[0][0] <= self.pool.version

    @property
    def _replays(self) -> bool:
        return any(request.cuts for request in self._queue)

    def _check_cuts(self, requests: Iterable[Request]) -> None:
        """Raise ValueError for samples of a replay whose first version is gone: nobody can begin them any more."""
        if any(request.cuts and request.cuts[0][0] < self.pool.version for request in requests):
            raise ValueError(
                "rlvr.replay: a repeated run goes on neither from a checkpoint nor over the death of an engine; begin it anew"
            )

    def _forget_replaced(self) -> None:
        """Begin anew what engines had that were replaced."""
        for i, engine in enumerate(self.pool.engines):
            if engine is not self._members[i]:
                self._requeue(i)
                self._members[i] = engine
                self._dead.discard(i)

    def _requeue(self, i: int) -> None:
        """Put the requests of a dead engine to the front of the queue. With their old seeds whoever takes them writes the same
        tokens, unless the weights have changed since they were begun."""
        self._calls = {call: j for call, j in self._calls.items() if j != i}
        # All that was dealt and not delivered: finished samples that no report has brought are lost with the engine, too.
        requests, self._running[i] = list(self._running[i].values()), {}
        self._check_cuts(requests)
        self._queue.extendleft(requests)
        self.reissued_requests += len(requests)
