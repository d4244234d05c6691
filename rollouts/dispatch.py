"""Requests dealt to several engines, and finished samples brought back, in the calling thread or in one of its own.

The thread is for work that goes on while the caller does something else: samples that are written while the policy
learns. At any time one thread alone deals, so that nothing here needs a lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, cast

from rollouts.episodes import Episodes, Finished
from rollouts.pool import EnginePool
from rollouts.remote import Actor, fetch
from rollouts.requests import Completion, Request

if TYPE_CHECKING:
    from ray import ObjectRef

SLICE_S = 0.05
"""Seconds for which an engine runs before it reports what has ended. A second call already waits at the engine, so that
it runs on during the report."""


class Dispatcher:
    """Deals requests to the engines of a pool. In the thread that deals, `deliver` takes what an engine has written, and
    `finish` the samples that ended with a reply of the environment, to which `episodes` go."""

    def __init__(
        self,
        pool: EnginePool,
        most_samples: int,
        deliver: Callable[[int, Sequence[Completion]], None],
        episodes: Episodes,
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
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._failure: BaseException | None = None  # of the thread, for its next caller

    @property
    def busy(self) -> bool:
        """Whether there is anything to write by the present weights, or an answer to wait for."""
        # Calls without work too: only when all are back is no engine still stepping.
        return bool(self._calls) or self.episodes.waiting or any(map(self._is_due, self._queue))

    def add(self, requests: Sequence[Request], first: bool = False) -> None:
        """Take requests in, before all others if they are to be the `first`."""
        if first:
            self._queue.extendleft(reversed(requests))
        else:
            self._queue.extend(requests)

    def advance(self) -> None:
        """Deal what waits, wait for one engine's report, and deliver what has ended. Raises ValueError when more engines
        die than a pool replaces."""
        import ray
        from ray.exceptions import RayActorError

        self._forget_replaced()
        # Where no engine has anything to do, the environment is all that is waited for.
        is_idle = not self._calls and not any(map(self._is_due, self._queue))
        requests, finished = self.episodes.advance(SLICE_S if is_idle else 0.0)
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
            self.pool.proof.check(i, self.pool.replace(i))
            self._forget_replaced()
            return
        self._deliver(i, completions)

    def settle(self) -> None:
        """Advance until each sample has ended or, in a replay, waits for the next version."""
        while True:
            while self.episodes.waiting or any(map(self._is_due, self._queue)):
                self.advance()
            for i, engine in enumerate(self.pool.engines):
                self._deliver(i, fetch(engine.settle.remote()))
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
        if aborts:
            ray.wait(aborts, num_returns=len(aborts))

    def drain(self) -> None:
        """Wait for the last reports of engines that have nothing more to write: then none of them is still stepping."""
        while self._calls and not any(self._running):
            self.advance()

    def run_on(self) -> None:
        """Go on dealing in a thread, until `pause`."""
        assert self._thread is None, "one thread alone deals"
        self.drain()
        if not self.busy:
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="groundtone-dispatch", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """End the thread, within a slice. Raises what it has failed with."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _run(self) -> None:
        try:
            while self.busy and not self._stop.is_set():
                self.advance()
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
            # Two: while this thread reads the answer of one, the engine already steps for the other.
            while list(self._calls.values()).count(i) < 2:
                # An even share of all that is left, rounded up: a fast engine must not empty the queue at the end.
                share = -(-(len(self._queue) + sum(map(len, self._running))) // len(self.pool.engines))
                space = max(0, min(share, self.most_samples) - len(self._running[i]))
                suitable = (r for r in self._queue if self._is_due(r) and r.engine in (None, i))
                requests = list(islice(suitable, space))
                for request in requests:
                    self._queue.remove(request)
                self._running[i] |= {request.key: request for request in requests}
                if not self._running[i]:
                    break
                # The engine refuses unless it holds this version: no token is written by stale weights.
                self._calls[engine.advance.remote(self.pool.version, requests, SLICE_S)] = i

    def _is_due(self, request: Request) -> bool:
        """Return whether the present weights may begin the sample: in a replay those of the version that began it."""
        return not request.cuts or request.cuts[0][0] <= self.pool.version

    def _forget_replaced(self) -> None:
        """Put the requests of engines that have died to the front of the queue. With their old seeds whoever takes them
        writes the same tokens, unless the weights have changed since they were begun."""
        for i, engine in enumerate(self.pool.engines):
            if engine is self._members[i]:
                continue
            self._members[i] = engine
            self._calls = {call: j for call, j in self._calls.items() if j != i}
            self._queue.extendleft(self._running[i].values())
            self.reissued_requests += len(self._running[i])
            self._running[i] = {}
