"""Treats the policy's engines as one: loads weights into all of them, replaces those that die, lets all of them
rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

from rollouts.arrival import ArrivalError, Receipt
from rollouts.errors import STREAM
from rollouts.proof import Proof
from rollouts.remote import Actor, fetch
from rollouts.weights import StreamSource, WeightBucket, Weights

if TYPE_CHECKING:
    from ray import ObjectRef

MAX_DEATHS = 3
"""Deaths of engines, in total, that one load or generation survives by replacing them; one more ends it."""


class EnginePool:
    """Handles of the engines, with the weights that a replacement for a dead one must load."""

    def __init__(self, engines: Sequence[Actor], respawn: Callable[[int], Actor]) -> None:
        self.engines, self.respawn = list(engines), respawn
        self.weights: Weights | None = None
        self.version = -1  # of `weights`
        self.proof = Proof()
        self.deaths = 0  # during this load or generation
        self.replaced = 0  # engines, since the pool began
        self.awake = self.dropped = False  # whether engines hold GPU memory; whether they have dropped the weights

    def load(self, weights: Weights, version: int) -> None:
        """Load weights into every engine under the name `version`. Raises ArrivalError, naming the engine and the tensor,
        unless every engine holds what was sent and uses it."""
        self.weights, self.version, self.deaths = weights, version, 0
        self.proof.begin(version, weights)
        # All engines begin to load before any is waited for; the trainer scores the probe meanwhile.
        receipts = self._load(range(len(self.engines)))
        self.proof.wait_for_trainer()
        for i, receipt in receipts.items():
            self.proof.check(i, receipt)

    def load_dropped(self) -> None:
        """Load the weights again if the engines dropped them when they last rested."""
        if self.dropped and self.weights is not None:
            self.load(self.weights, self.version)

    def replace(self, i: int) -> Receipt:
        """Replace the dead i-th engine by a new one with the present weights, and return its receipt. Raises ValueError
        beyond MAX_DEATHS, and if the weights do not load."""
        self._count_death(i)
        return self._load([i])[i]

    def rest(self) -> None:
        """Give the GPU memory of weights and cache to the trainers that share the devices."""
        from ray.exceptions import RayActorError

        if not self.awake:
            return
        self.awake, self.dropped = False, bool(self.weights and self.weights.source and self.weights.source.drops)
        # All are asked before one is waited for: at level 1 each copies its weights to the host.
        for call in [engine.rest.remote(2 if self.dropped else 1) for engine in self.engines]:
            with suppress(RayActorError):  # a dead engine is replaced when it is next used
                fetch(call)

    def _count_death(self, i: int) -> None:
        """Start a new engine in the place of the dead i-th. Raises ValueError beyond MAX_DEATHS."""
        self.deaths += 1
        if self.deaths > MAX_DEATHS:
            raise ValueError(
                f"{self.deaths} engines died during one generation or load of weights, the last was engine {i}; is memory "
                "short? lower engines.count, or what an engine takes: engines.kv_cache_mb on CPU, "
                "engines.vllm.gpu_memory_utilization on a GPU; --debug shows all of it"
            )
        self.engines[i] = self.respawn(i)
        self.replaced += 1
        self.proof.forget(i)

    def _load(self, members: Sequence[int]) -> dict[int, Receipt]:
        """Load the present weights into these engines, replacing those that die, and return receipts by engine."""
        assert self.weights is not None, "there are weights to load"
        self.awake, self.dropped = True, False
        if self.weights.source is not None:
            return self._stream(members, self.weights, self.weights.source)
        loads = {i: self._start_load(i, self.weights.buckets) for i in members}
        return {i: self._receive(i, loading, self.weights) for i, loading in loads.items()}

    def _start_load(self, i: int, buckets: Sequence[WeightBucket]) -> ObjectRef[Receipt]:
        probe = self.weights.probe if self.weights else None
        return self.engines[i].load.remote(self.version, buckets, probe)

    def _receive(self, i: int, loading: ObjectRef[Receipt], weights: Weights) -> Receipt:
        """Wait for an engine's receipt, or for that of its replacement if it dies meanwhile."""
        from ray.exceptions import RayActorError

        while True:
            try:
                return fetch(loading)
            except RayActorError:
                self._count_death(i)
                loading = self._start_load(i, weights.buckets)
            except ValueError as error:
                if not weights.from_trainer:  # errors about a folder already name the folder
                    raise
                raise ArrivalError(f"engine {i}, version {self.version}: {error}") from error

    def _stream(self, members: Sequence[int], weights: Weights, source: StreamSource) -> dict[int, Receipt]:
        """Return what `_load` does, of weights that the trainer streams. One death ends the stream for all engines; the
        dead are replaced and a new stream begins."""
        from ray.exceptions import RayActorError

        while True:
            # Each round but the last has cost an engine, so that MAX_DEATHS bounds their number.
            streams, sending = source.start(members, self.replaced)
            loads = {
                self._start_load(i, [{"stream": asdict(stream)}]): i for i, stream in zip(members, streams, strict=True)
            }
            failures = _await_all([*loads, *sending], source)
            dead = [i for load, i in loads.items() if isinstance(failures.get(load), RayActorError)]
            if not failures:
                sent, seconds = fetch(sending[0])
                self.weights = replace(weights, checksums=sent, seconds=seconds)
                self.proof.note_sent(self.weights)
                return {i: fetch(load) for load, i in loads.items()}
            for i in dead:
                self._count_death(i)
            if not dead:
                raise _root(failures, loads, self.version)


def _await_all(calls: Sequence[ObjectRef[Any]], source: StreamSource) -> dict[ObjectRef[Any], Exception]:
    """Wait for every call and return the errors of those that failed, in the order in which they did. The first failure
    ends the stream for the others, which would wait for the failed side."""
    import ray

    failures: dict[ObjectRef[Any], Exception] = {}
    pending = list(calls)
    while pending:
        done, pending = cast("tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]", ray.wait(pending, num_returns=1))
        try:
            fetch(done[0])
        except Exception as error:  # any kind of error must end the stream, or the other side would wait
            if not failures:
                source.end()
            failures[done[0]] = error
    return failures


def _root(
    failures: Mapping[ObjectRef[Any], Exception], engines: Mapping[ObjectRef[Receipt], int], version: int
) -> Exception:
    """Return the failure that caused the others, as the driver reports it: a death, else the first error that is more
    than a report that the stream was ended."""
    from ray.exceptions import RayActorError, RayTaskError

    def rank(error: Exception) -> int:
        if isinstance(error, RayActorError):
            return 0
        # By its text, since vLLM wraps a worker's TransferError in an error of its own.
        return 2 if isinstance(error, RayTaskError) and STREAM in str(cast("object", error.cause)) else 1

    call, error = min(failures.items(), key=lambda failure: rank(failure[1]))  # of equal rank `min` takes the first
    i = engines.get(cast("ObjectRef[Receipt]", call))
    if i is not None and isinstance(error, ValueError):
        return ArrivalError(f"engine {i}, version {version}: {error}")
    return error
