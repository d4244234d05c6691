"""Streams weights in buckets: a trainer's ranks pack tensors into one bucket while the one before travels.

Every rank walks through the parameters, since gathering them is collective; those that send pack them. Each bucket has
a header in the stream's store (names, types, shapes) and its bytes in a buffer that receivers map (`ipc`,
`shared_memory`) or are sent (`nccl`, `gloo`). Of an engine with several tensor-parallel workers, each worker is sent
only its share of the bytes, by a rank of its own if the trainer has enough; the workers then exchange the shares, over
the links of a node.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from rollouts.arrival import Checksum, StartedChecksum, finish_checksums, start_checksum
from rollouts.buffers import SharedBuffer, device_name, map_buffer
from rollouts.errors import TransferError
from rollouts.links import Line, Links, await_work, broadcast, transfer_errors
from rollouts.transport import WITHIN_DEVICE, Stream

if TYPE_CHECKING:
    from torch import Tensor

ALIGNMENT = 256
"""Bytes. Tensors in a bucket begin at multiples of it, so that each can be viewed as its type."""
BUFFERS = 2
"""Buffers of a sender: one is packed while the other is read."""


@dataclass
class Packing:
    """Tensors packed into a buffer so far."""

    used: int = 0
    entries: list[tuple[str, str, list[int], int]] = field(default_factory=list[tuple[str, str, list[int], int]])
    """(name, type, shape, offset in bytes) of each tensor."""


class Sender:
    """A rank's end of a stream of weights."""

    def __init__(self, links: Links, stream: Stream, rank: int, receivers: int, device: torch.device) -> None:
        """Connect to the stream's store. `receivers` is the number of engines' workers on this rank's device, which
        read its memory with `ipc` and `shared_memory`."""
        self.stream, self.rank, self.device, self.links = stream, rank, device, links
        self.line = Line(links.store(stream.host, stream.port), stream.name)
        self.within = stream.transport in WITHIN_DEVICE
        self.receivers = receivers if self.within else 0
        assert device.type == "cpu" or self.receivers < 2, "CUDA counts one release of each buffer"
        # A rank that sends to nobody only walks through the parameters, since gathering them is collective.
        self.sends = self.receivers > 0 if self.within else rank < stream.senders
        self.keys: list[str] = []
        self.checksums: dict[str, Checksum] = {}
        self.checksum_s = 0.0
        self.count = 0  # buckets so far
        self.started: list[StartedChecksum] = []  # of the bucket that is being packed
        self.buffers: dict[int, SharedBuffer | Tensor] = {}  # by slot
        self.work: list[list[Any]] = [[] for _ in range(BUFFERS)]  # broadcasts that read each buffer

    def send(self, parameters: Iterable[tuple[str, Tensor]]) -> tuple[dict[str, Checksum], float]:
        """Send all of the parameters; return their checksums and the seconds that these took, on the first rank. Raises
        TransferError when the stream is ended."""
        packing, failure = Packing(), None
        for name, tensor in parameters:
            # Iterated to the end even after a failure: other ranks gather with this one, and would hang if it stopped.
            if failure is None and (self.sends or self.rank == 0):
                try:
                    packing = self._add(packing, name, tensor.detach())
                except TransferError as error:
                    failure = error
        try:
            if failure is not None:
                raise failure
            with transfer_errors():
                self._finish(packing)
        except TransferError:
            self.links.drop(self.stream.group)
            raise
        finally:
            self._close()
        return self.checksums, self.checksum_s

    def _add(self, packing: Packing, name: str, tensor: Tensor) -> Packing:
        """Pack a tensor and return the packing that holds it: a new one if the bucket was full, which is then sent."""
        size = tensor.numel() * tensor.element_size()
        with transfer_errors():
            # An empty bucket is never sent: it marks the end of the stream.
            if packing.entries and packing.used + size > self.stream.bucket_bytes:
                self._dispatch(packing)
                packing = Packing()
            self._pack(packing, name, tensor, size)
        return packing

    def _pack(self, packing: Packing, name: str, tensor: Tensor, size: int) -> None:
        """Copy a tensor to the end of the bucket; under ZeRO-3 the original is freed when the next one is gathered."""
        tensor = tensor.contiguous()
        if self.rank == 0:  # all ranks gather the same tensors: one checksum is enough
            start = time.monotonic()
            self.started.append(start_checksum(name, tensor))
            self.checksum_s += time.monotonic() - start
        packing.entries.append((name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), packing.used))
        if self.sends:
            buffer = self._buffer(packing.used, size)
            buffer[packing.used : packing.used + size].copy_(tensor.reshape(-1).view(torch.uint8))
        packing.used += -(-size // ALIGNMENT) * ALIGNMENT

    def _buffer(self, used: int, size: int) -> Tensor:
        """Return the buffer of the present bucket, once nobody reads the bucket that it held before."""
        slot = self.count % BUFFERS
        if used == 0:
            self._await_slot(slot)
        # A margin beyond the bucket's bytes: each worker's share of them is rounded up to the alignment.
        need = max(self.stream.bucket_bytes, size) + ALIGNMENT * (1 + self.stream.workers)
        buffer = self.buffers.get(slot)
        # A tensor larger than a bucket stands alone in its bucket.
        if buffer is not None and len(_bytes(buffer)) < used + size:
            del self.buffers[slot]  # before the new one is allocated: if that fails, `_close` must not meet this one
            if isinstance(buffer, SharedBuffer):
                buffer.close()
            buffer = None
        if buffer is None:
            buffer = self.buffers[slot] = self._new_buffer(need)
        return _bytes(buffer)

    def _new_buffer(self, size: int) -> SharedBuffer | Tensor:
        if self.within:
            return SharedBuffer(size, self.device)
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def _await_slot(self, slot: int) -> None:
        """Wait until the last bucket in this buffer was read."""
        if self.within and self.count >= BUFFERS:
            self.line.await_receivers(self._key(f"read/{self.count - BUFFERS}"), self.receivers)
        for work in self.work[slot]:
            await_work(self.line, work, self.device.type)
        self.work[slot] = []

    def _dispatch(self, packing: Packing) -> None:
        """Tell the receivers of the packed bucket, and begin to send its bytes."""
        start = time.monotonic()
        self.checksums |= finish_checksums(self.started)
        self.checksum_s += time.monotonic() - start
        self.started.clear()
        if self.sends and self.device.type == "cuda":
            torch.cuda.current_stream().synchronize()  # the copies must be done before receivers read the buffer
        header = {"entries": packing.entries, "bytes": packing.used}
        if self.within and self.sends:
            buffer = self.buffers[self.count % BUFFERS]
            assert isinstance(buffer, SharedBuffer)
            self._put(self._key(f"head/{self.count}"), header | {"slot": self.count % BUFFERS, "handle": buffer.handle})
        elif not self.within and self.rank == 0:  # the other senders' buckets have the same header
            self._put(f"head/{self.count}", header)
        if self.sends and not self.within:
            self._broadcast(_bytes(self.buffers[self.count % BUFFERS]), packing.used)
        self.count += 1

    def _broadcast(self, buffer: Tensor, used: int) -> None:
        """Begin to send this rank's shares of a bucket to the workers that they are for."""
        stream, share = self.stream, share_bytes(used, self.stream.workers)
        # The k-th workers of all engines get the same share, so one broadcast serves all of them.
        # There may be fewer ranks than workers: each serves every `senders`-th of them.
        for worker in range(self.rank, stream.workers, stream.senders):
            # Rank 0 of a worker's group is the sender, rank 1 + e the worker of that number in engine e.
            group = self.links.group(stream, f"worker {worker}", 0, 1 + stream.engines)
            part = buffer[worker * share : (worker + 1) * share]
            self.work[self.count % BUFFERS].append(broadcast(group, part, 0))

    def _finish(self, packing: Packing) -> None:
        """Send the last bucket, say that this was all, and wait until it is read and the buffers are released."""
        if packing.entries:
            self._dispatch(packing)
        if self.within and self.sends:
            self._put(self._key(f"head/{self.count}"), {"entries": [], "bytes": 0})
            # A buffer that a receiver still maps must not be freed: on a GPU its mapping would point to freed memory.
            self.line.await_receivers(self._key("released"), self.receivers)
        elif not self.within:
            if self.rank == 0:
                self._put(f"head/{self.count}", {"entries": [], "bytes": 0})
            for slot in range(BUFFERS):
                self._await_slot(slot)

    def _close(self) -> None:
        for buffer in self.buffers.values():
            if isinstance(buffer, SharedBuffer):
                buffer.close()
        self.buffers.clear()

    def _key(self, key: str) -> str:
        # By device: ranks that send within their own GPUs each address only the receivers there.
        return f"{device_name(self.device)}/{key}"

    def _put(self, key: str, header: dict[str, Any]) -> None:
        self.keys.append(key)
        self.line.put(key, json.dumps(header))

    def forget(self) -> None:
        """Delete the headers from the store, once every receiver is through."""
        acknowledged = [self._key(f"read/{i}") for i in range(self.count)] + [self._key("released")]
        self.line.clear(self.keys + (acknowledged if self.within and self.sends else []))


class Receiver:
    """A worker's end of a stream of weights."""

    def __init__(self, links: Links, stream: Stream, worker: int, device: torch.device) -> None:
        self.stream, self.worker, self.device, self.links = stream, worker, device, links
        self.line = Line(links.store(stream.host, stream.port), stream.name)
        self.within = stream.transport in WITHIN_DEVICE
        self.place = f"{device_name(device)}/" if self.within else ""
        self.mapped: dict[int, tuple[str, Tensor]] = {}  # slot → (handle, bytes)

    def buckets(self) -> Iterator[list[tuple[str, Tensor]]]:
        """Yield the (name, tensor) of each bucket, copied out of the sender's buffers. Raises TransferError when the
        stream is ended early."""
        count, pending = 0, self._begin(0)
        while pending is not None:
            entries, content, work = pending
            self._complete(content, work)
            count += 1
            # If the next bucket has been sent by now, it travels while the caller loads this one. Not within a device,
            # where receiving is a copy.
            ahead = not self.within and self.line.has(f"{self.place}head/{count}")
            following = self._begin(count) if ahead else None
            yield [(name, _view(content, dtype, shape, offset)) for name, dtype, shape, offset in entries]
            pending = following if ahead else self._begin(count)
        if self.within:
            self.mapped.clear()  # before the sender frees what was mapped
            self.line.acknowledge(f"{self.place}released")

    def _begin(self, count: int) -> tuple[Sequence[tuple[str, str, list[int], int]], Tensor, Any] | None:
        """Wait for the header of a bucket and begin to receive it; return (its entries, its bytes, the work under way), or
        None at the end of the stream."""
        with transfer_errors():
            return self._receive(count)

    def _receive(self, count: int) -> tuple[Sequence[tuple[str, str, list[int], int]], Tensor, Any] | None:
        header = json.loads(self.line.get(f"{self.place}head/{count}"))
        if not header["entries"]:
            return None
        if self.within:
            content = self._map(header["slot"], header["handle"])[: header["bytes"]].clone()
            if self.device.type == "cuda":
                torch.cuda.current_stream().synchronize()  # the copy must be done before the sender packs into it again
            self.line.acknowledge(f"{self.place}read/{count}")
            return header["entries"], content, None
        share = share_bytes(header["bytes"], self.stream.workers)
        # Room for the shares of all workers: this one's comes here, the others pass theirs on in `_complete`.
        content = torch.empty(share * self.stream.workers, dtype=torch.uint8, device=self.device)
        group = self.links.group(self.stream, f"worker {self.worker}", 1 + self.stream.engine, 1 + self.stream.engines)
        part = content[self.worker * share : (self.worker + 1) * share]
        return header["entries"], content, broadcast(group, part, 0)

    def _complete(self, content: Tensor, work: Any) -> None:
        """Wait for the bytes of a bucket, and for the shares of the engine's other workers."""
        if work is None:
            return
        workers = self.stream.workers
        with transfer_errors():
            await_work(self.line, work, self.device.type)
            if workers > 1:
                group = self.links.group(self.stream, f"engine {self.stream.engine}", self.worker, workers)
                parts = list(content.chunk(workers))
                await_work(self.line, group.allgather([parts], [parts[self.worker].clone()]), self.device.type)

    def _map(self, slot: int, handle: str) -> Tensor:
        # For a tensor larger than a bucket the sender allocates a new buffer in the slot, which has another handle.
        if slot not in self.mapped or self.mapped[slot][0] != handle:
            self.mapped.pop(slot, None)
            self.mapped[slot] = handle, map_buffer(handle, self.device)
        return self.mapped[slot][1]


def share_bytes(used: int, workers: int) -> int:
    """Return the number of bytes of a bucket that each of an engine's workers is sent."""
    # Rounded up: the last share may reach beyond the bucket's bytes, for which buffers have a margin.
    return -(-used // (workers * ALIGNMENT)) * ALIGNMENT


def _bytes(buffer: SharedBuffer | Tensor) -> Tensor:
    return buffer.bytes if isinstance(buffer, SharedBuffer) else buffer


def _view(content: Tensor, dtype: str, shape: list[int], offset: int) -> Tensor:
    """Return a view of the tensor at `offset` bytes into a bucket."""
    kind: torch.dtype = getattr(torch, dtype)
    size = kind.itemsize
    for length in shape:
        size *= length
    return content[offset : offset + size].view(kind).view(shape)
