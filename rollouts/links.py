"""Connects the two sides of a stream of weights: a store through which they talk, and process groups that carry the
bytes.

Neither is torch's global process group, which trainers and vLLM each already use for themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from rollouts.errors import STREAM, TransferError

if TYPE_CHECKING:
    from torch import Tensor

    from rollouts.transport import Stream

TIMEOUT = timedelta(minutes=10)
"""Time without a sign of the other side after which a stream gives up, should nobody end it before."""
LOOK_S = 1.0
"""Seconds between two checks for the key by which the driver ends a stream."""


@contextmanager
def transfer_errors() -> Generator[None]:
    """Raise torch's connection errors in the block as TransferError."""
    try:
        yield
    except TransferError:
        raise
    except RuntimeError as error:  # the only error class that gloo, NCCL and the store have in common
        raise TransferError(f"{STREAM} broke: {error}") from error


class Links:
    """The connections of one process."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, int], dist.Store] = {}  # pyright: ignore[reportPrivateImportUsage]
        self._groups: dict[str, Any] = {}

    def store(self, host: str, port: int) -> dist.Store:  # pyright: ignore[reportPrivateImportUsage]
        """Return the connection to the store at this address."""
        if (host, port) not in self._stores:
            # torch does not export the name
            self._stores[host, port] = dist.TCPStore(host, port, is_master=False, timeout=TIMEOUT)  # pyright: ignore[reportPrivateImportUsage]
        return self._stores[host, port]

    def group(self, stream: Stream, name: str, rank: int, size: int) -> Any:
        """Return this process's member of the process group of that name; an earlier stream's group is used again.
        Raises TransferError if the stream is ended before all `size` processes are there."""
        name = f"{stream.group}/{name}"
        if name not in self._groups:
            self._drop_older(stream.group)
            whole_store = self.store(stream.host, stream.port)
            # Count who is here before torch's own rendezvous, which would wait ten minutes for a process that has died
            # and cannot be told to stop.
            whole_store.add(f"{name}/here", 1)
            Line(whole_store, stream.name).wait(lambda: whole_store.add(f"{name}/here", 0) >= size)
            # torch does not export the name
            store = dist.PrefixStore(name, whole_store)  # pyright: ignore[reportPrivateImportUsage]
            if stream.transport == "nccl":
                from torch.distributed import ProcessGroupNCCL

                options = ProcessGroupNCCL.Options()
                options._timeout = TIMEOUT  # pyright: ignore[reportPrivateUsage] # the option has no public name
                self._groups[name] = ProcessGroupNCCL(store, rank, size, options)
            else:
                from torch.distributed import ProcessGroupGloo

                self._groups[name] = ProcessGroupGloo(store, rank, size, TIMEOUT)
        return self._groups[name]

    def drop(self, group: str) -> None:
        """Drop the process groups of a stream that failed: collectives that are under way in them would never end."""
        self._abort([name for name in self._groups if name.startswith(f"{group}/")])

    def _drop_older(self, group: str) -> None:
        """Drop the process groups that the same sender had before this one: an engine of theirs was replaced."""
        sender = group.partition("/")[0]
        older = [name for name in self._groups if not name.startswith(f"{group}/")]
        self._abort([name for name in older if name.partition("/")[0] == sender])

    def _abort(self, names: Iterable[str]) -> None:
        for name in names:
            group = self._groups.pop(name)
            if hasattr(group, "abort"):
                group.abort()


class Line:
    """The keys of one stream in its store, as one of its ends sees them."""

    def __init__(self, store: dist.Store, name: str) -> None:  # pyright: ignore[reportPrivateImportUsage]
        self.store, self.name = store, name
        self._looked = 0.0

    def put(self, key: str, text: str) -> None:
        """Write a text for the other side."""
        self.store.set(f"{self.name}/{key}", text)

    def get(self, key: str) -> str:
        """Wait for a text of the other side. Raises TransferError when the stream is ended or nothing comes."""
        self.wait(lambda: self.has(key))
        return self.store.get(f"{self.name}/{key}").decode()

    def has(self, key: str) -> bool:
        """Return whether the text is there."""
        return self.store.check([f"{self.name}/{key}"])

    def acknowledge(self, key: str) -> None:
        """Count one more receiver that is done with `key`."""
        self.store.add(f"{self.name}/{key}", 1)

    def await_receivers(self, key: str, count: int) -> None:
        """Wait until `count` receivers are done with `key`. Raises TransferError as `get` does."""
        # Adding 0 reads a counter, also one on which nobody has counted yet; `store.get` would block.
        self.wait(lambda: self.store.add(f"{self.name}/{key}", 0) >= count)

    def wait(self, is_done: Callable[[], bool]) -> None:
        """Wait until `is_done`. Raises TransferError as `get` does."""
        # Polled, with growing pauses from 20 µs to 5 ms: most answers come at once, and a blocking wait would not see
        # the key that ends the stream.
        deadline, pause = time.monotonic() + TIMEOUT.total_seconds(), 2e-5
        while not is_done():
            time.sleep(pause)
            pause = min(2 * pause, 0.005)
            if time.monotonic() > self._looked + LOOK_S:
                self._looked = time.monotonic()
                if self.has("end"):
                    raise TransferError(f"{STREAM} was ended: another of its processes failed")
                if self._looked > deadline:
                    raise TransferError(f"{STREAM} stood still for {TIMEOUT.total_seconds():.0f} s")

    def end(self) -> None:
        """End the stream for all who wait in it."""
        self.put("end", "1")

    def clear(self, keys: list[str]) -> None:
        """Delete the keys of a stream that is over."""
        for key in keys:
            self.store.delete_key(f"{self.name}/{key}")


def broadcast(group: Any, tensor: Tensor, root: int) -> Any:
    """Start a broadcast of the bytes in `tensor` from the `root`; return torch's handle of the work."""
    options = dist.BroadcastOptions()  # pyright: ignore[reportPrivateImportUsage] # torch does not export the name
    options.rootRank = root
    return group.broadcast([tensor], options)


def await_work(line: Line, work: Any, device_type: str) -> None:
    """Wait until a piece of work of a process group is over. Raises TransferError when the stream is ended meanwhile."""
    if device_type == "cuda":
        import torch

        work.wait()  # makes the current CUDA stream wait, not this thread
        # Recorded behind the work: once the event has come, the bytes are there. Polled, so that the wait can be ended.
        event = torch.cuda.Event()
        event.record()
        line.wait(event.query)
    else:
        line.wait(work.is_completed)
        work.wait()  # has ended; raises its error if it failed
