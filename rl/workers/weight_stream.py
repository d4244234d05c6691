"""The policy's side of streams of weights: the driver's handle of the ranks that send, and the walk through parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from rollouts.remote import fetch
from rollouts.transport import WITHIN_DEVICE, Gpu, Stream, Transport

if TYPE_CHECKING:
    from ray import ObjectRef

    from rollouts.arrival import Checksums
    from rollouts.remote import Actor

BUCKET_BYTES = 256 << 20
"""Size of a bucket of weights. Trainer and engine hold two of them at a time."""
END_TIMEOUT = timedelta(seconds=10)
"""Time in which the store of a stream is reached to end it; torch would try for five minutes to reach one that is gone."""


@dataclass(frozen=True, slots=True)
class Route:
    """Route of weights from these ranks to these engines."""

    transport: Transport
    workers: int = 1
    """Tensor-parallel workers of each engine."""
    trainer_gpus: Sequence[Sequence[Gpu]] = ()
    """The GPUs of each rank; none on CPU."""
    engine_gpus: Sequence[Sequence[Gpu]] = ()
    """The GPUs of each engine; none on CPU."""

    def receivers(self, rank: int, engines: Sequence[int]) -> int:
        """Return how many workers of these engines read the memory of this rank."""
        if self.transport not in WITHIN_DEVICE:
            return 0
        if not self.trainer_gpus:  # on CPU everyone reads the first rank's
            return len(engines) * self.workers if rank == 0 else 0
        return sum(gpu in self.trainer_gpus[rank] for i in engines for gpu in self.engine_gpus[i])


class WeightStream:
    """The driver's handle of streams from the ranks of a policy. A `rollouts.weights.StreamSource`."""

    def __init__(self, actors: Sequence[Actor], route: Route, bucket_bytes: int = BUCKET_BYTES) -> None:
        self.actors, self.route, self.bucket_bytes = list(actors), route, bucket_bytes
        # Within a GPU new weights come sooner than a copy of the old ones would come back from the host.
        self.drops = route.transport == "ipc"
        self.address: tuple[str, int] | None = None
        self.name = uuid4().hex  # of all that it writes into the store, which a stream of another stage may use too
        self.count = self.failed = 0
        self.stream: Stream | None = None  # the last one

    def start(
        self, engines: Sequence[int], replaced: int
    ) -> tuple[Sequence[Stream], Sequence[ObjectRef[tuple[Checksums, float]]]]:
        """Begin to send as `StreamSource.start` says."""
        if self.address is None:
            self.address = cast("tuple[str, int]", fetch([self.actors[0].open_store.remote()])[0])
        self.count += 1
        host, port = self.address
        self.stream = Stream(
            self.route.transport,
            host,
            port,
            f"{self.name}/{self.count}",
            # Connections last from one load to the next between the same engines; never beyond a failure, nor beyond an
            # engine that was replaced: its number is the new one's too, but the connections lead to the dead process.
            f"{self.name}/after {self.failed}, {replaced}/{','.join(map(str, engines))}",
            len(engines),
            self.route.workers,
            min(len(self.actors), self.route.workers),  # senders: one for each share, as far as there are ranks
            self.bucket_bytes,
        )
        sending = [
            actor.send_weights.remote(self.stream, self.route.receivers(rank, engines))
            for rank, actor in enumerate(self.actors)
        ]
        return [replace(self.stream, engine=i) for i in range(len(engines))], sending

    def end(self) -> None:
        """End the last stream. If the rank that holds its store is gone, everybody notices without being told."""
        import torch.distributed as dist

        from rollouts.links import Line

        assert self.stream is not None, "a stream was started"
        self.failed += 1
        try:
            store = dist.TCPStore(self.stream.host, self.stream.port, is_master=False, timeout=END_TIMEOUT)  # pyright: ignore[reportPrivateImportUsage] # torch does not export the name
        except RuntimeError:  # torch's DistError is one; the failure that led here says more
            return
        Line(store, self.stream.name).end()
