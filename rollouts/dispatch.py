"""Deals requests to several engines and collects finished samples, in the calling thread or in a thread of its own.

A thread of its own is for work that goes on while the caller does something else: samples that are written while the
policy learns. Only one thread deals at any time, so nothing here needs a lock.
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
CLOSE_S = 5.0
"""Seconds for which `close` waits for the thread."""
NO_REPLAY = (
    "rlvr.replay: a repeated run goes on neither from a checkpoint nor over the death of an engine; begin it anew"
)


class Dispatcher:
    """Deals requests to the engines of a pool, one request for each turn of a sample.

    Both callbacks run in the thread that deals: `deliver(i, completions)` takes what engine `i` has written, and
    `finish` takes the samples that ended with a reply of the environment, as `episodes` reports them."""

    def __init__(
        self,
        pool: EnginePool,
        most_samples: int,
        deliver: Callable[[int, Sequence[Completion]], None],
        episodes: Source,
        finish: Callable[[Finished], None],
    ) -> None:
        """Start without a thread. An engine holds at most `most_samples` requests at once, running or in its queue."""
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
        """Number of the period until the next change of weights; engines are told when it is over. It comes from the
        clock, so that the numbers rise for an engine even if another dispatcher dealt to it before."""
        self._failure: BaseException | None = None  # of the thread, for its next caller
        self._is_closed = False  # whether nobody wants the thread's failure

    @property
    def busy(self) -> bool:
        """True while there is anything to write by the present weights, or an answer to wait for."""
        # Calls without work count: an engine may still be stepping until its last call is back. Work without calls
        # counts too: `settle` takes all calls back and leaves at the engines those samples that the next weights are to
        # go on with.
        is_at_work = bool(self._calls) or any(self._running)
        return is_at_work or self.episodes.waiting or any(map(self._is_due, self._queue))

    def add(self, requests: Sequence[Request], first: bool = False) -> None:
        """Queue requests, ahead of all others if `first`. Raises ValueError in a replay if the weights that are to
        begin them are gone."""
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

        # A new engine takes its weights from the trainer, which is busy while the thread deals: so only the caller
        # replaces.
        for i in [] if self._is_in_thread else sorted(self._dead):
            if self.pool.engines[i] is self._members[i]:  # otherwise a load has already replaced it
                self.pool.proof.check(i, self.pool.replace(i))
        self._forget_replaced()
        # Wait for the environment only if no engine has anything to do; else it is asked without waiting.
        is_idle = not self._calls and not self._can_deal
        requests, finished = self.episodes.advance(SLICE_S if is_idle else 0.0)
        self.add(requests, first=True)
        # Behind `add`: a harness may have asked and closed its connection since the last look, and that request is new too.
        if abandoned := self.episodes.take_abandoned():
            self.drop(abandoned)
        self.finish(finished)
        self._feed()
        if not self._calls:
            return
        call = cast("ObjectRef[list[Completion]]", ray.wait(list(self._calls), num_returns=1)[0][0])
        i = self._calls.pop(call)
        try:
            completions = fetch(call)
        except RayActorError:
            # Noted, not replaced yet: this may be the thread, and only its caller may replace (see above).
            self._dead.add(i)
            self._requeue(i)
            return
        self._deliver(i, completions)

    def settle(self) -> None:
        """Advance until each sample has ended or, in a replay, waits for the next version. Raises ValueError in a replay of
        which an engine has died."""
        while True:
            while self.episodes.waiting or any(map(self._is_due, self._queue)):
                # By now the trainer may hold the next version: a new engine would be sent that under the old one's name.
                if self._dead:
                    raise ValueError(NO_REPLAY)
                self.advance()
            # A sample that ends its turn here may go on after its environment's reply, and is then due once more.
            for i, engine in enumerate(self.pool.engines):
                self._deliver(i, fetch(engine.settle.remote()))
            # Calls that were under way are back by now, since an actor takes its calls in order. Their samples are
            # delivered too: the environment may reply to one of them, and its next turn may be this version's to write.
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
        # An actor takes its calls in order: when these are back, no engine works on a slice for the dropped samples any
        # more, and trainers that share its cores may come next.
        if aborts:
            ray.wait(aborts, num_returns=len(aborts))

    def drain(self) -> None:
        """Wait for the last reports of engines that have nothing more to write: then none of them is still stepping."""
        while self._calls and not any(self._running):
            self.advance()

    def run_on(self) -> None:
        """Go on dealing in a thread, until `pause`. Raises the error of an earlier thread, if it failed."""
        self.pause()
        self.drain()
        if not self.busy:
            return
        self._stop.clear()
        self._is_closed = False
        # A daemon: if an engine hangs, the thread that waits for it must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name="groundtone-dispatch", daemon=True)
        self._thread.start()

    def pause(self, at_once: bool = False) -> None:
        """End the thread within a slice, or with `at_once` within one step of the engines, which then write no more
        until they are next dealt to. Raises the thread's error, if it failed."""
        if self._thread is not None:
            self._stop.set()
            if at_once and self._thread.is_alive():
                self._end_period()
            self._thread.join()
            self._thread = None
            # Never lower than before: engines ignore the calls of a period that is over, so a clock set back would stop
            # them.
            self._period = max(self._period + 1, time.time_ns())
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _end_period(self) -> None:
        """Have the engines cut short what they were asked for in this period."""
        # Otherwise new weights would wait for the slice that each engine has begun, and for the one queued behind it.
        # All engines are called: only the thread knows which of them have work, and it is still running.
        for i, engine in enumerate(self.pool.engines):
            if i not in self._dead:
                engine.end_period.options(concurrency_group=CONTROL).remote(self._period)

    def close(self) -> None:
        """End the thread before the engines are gone, or its source of samples; ignore its error, if it failed."""
        self._is_closed = True
        self._stop.set()
        if self._thread is not None:
            # Not for ever: the thread may wait for an engine that hangs. What it still brings then has no taker, and
            # `pause` joins it before anybody else deals.
            self._thread.join(timeout=CLOSE_S)
        self._failure = None

    @property
    def _is_in_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.advance()
                if not (self._calls or self.episodes.waiting or self._can_deal):
                    return  # all has ended, or waits for the caller
        except BaseException as error:  # kept for the caller: `pause` raises it when samples are next waited for
            if not self._is_closed:
                self._failure = error

    def _deliver(self, i: int, completions: Sequence[Completion]) -> None:
        # A request that was dropped meanwhile is no longer among the running ones: nobody wants its sample.
        wanted = [c for c in completions if self._running[i].pop(c.key, None) is not None]
        if wanted:
            self.deliver(i, wanted)

    def _feed(self) -> None:
        """Deal waiting requests evenly and keep two calls in flight on every engine that has work."""
        for i, engine in enumerate(self.pool.engines):
            if i in self._dead:
                continue
            # Two calls: while this thread handles the answer to one, the engine already steps for the other.
            while list(self._calls.values()).count(i) < 2:
                # An even share of all that is left, rounded up: a fast engine must not empty the queue while the others
                # idle.
                share = -(-(len(self._queue) + sum(map(len, self._running))) // len(self.pool.engines))
                # In a replay there is no other limit: samples held for a later version would take the places of those
                # due now.
                most = share if self._replays else min(share, self.most_samples)
                space = max(0, most - len(self._running[i]))
                # A sample that goes on keeps to the engine whose prefix cache holds its earlier turns, unless that engine
                # is dead: then its cache is gone with it, and any other may go on.
                takers = {None, i, *self._dead}
                suitable = (r for r in self._queue if self._is_due(r) and r.engine in takers)
                requests = list(islice(suitable, space))
                for request in requests:
                    self._queue.remove(request)
                self._running[i] |= {request.key: request for request in requests}
                if not self._running[i]:
                    break
                # The engine refuses unless it holds this version: no token is written by stale weights.
                self._calls[engine.advance.remote(self.pool.version, requests, SLICE_S, self._period)] = i

    def _is_due(self, request: Request) -> bool:
        """Return whether the present weights may begin the sample: any may, except in a replay before the version that
        it names first."""
        return not request.cuts or request.cuts[0][0] <= self.pool.version

    @property
    def _can_deal(self) -> bool:
        """True while something is due and an engine lives: the thread replaces none that is dead."""
        return len(self._dead) < len(self._members) and any(map(self._is_due, self._queue))

    @property
    def _replays(self) -> bool:
        return any(request.cuts for request in self._queue)

    def _check_cuts(self, requests: Iterable[Request]) -> None:
        """Raise ValueError for samples of a replay whose first version is gone, since no engine can begin them any
        more."""
        if any(request.cuts and request.cuts[0][0] < self.pool.version for request in requests):
            raise ValueError(NO_REPLAY)

    def _forget_replaced(self) -> None:
        """Queue again the requests of engines that were replaced."""
        for i, engine in enumerate(self.pool.engines):
            if engine is not self._members[i]:
                self._requeue(i)
                self._members[i] = engine
                self._dead.discard(i)

    def _requeue(self, i: int) -> None:
        """Put the requests of a dead engine at the front of the queue. They keep their seeds, so another engine writes
        the same tokens, unless the weights have changed since they were begun."""
        self._calls = {call: j for call, j in self._calls.items() if j != i}
        # Everything dealt and not delivered: samples that had ended but were not yet reported are lost with the engine,
        # too.
        requests, self._running[i] = list(self._running[i].values()), {}
        self._check_cuts(requests)
        self._queue.extendleft(requests)
        self.reissued_requests += len(requests)
