"""Weights in buckets between real processes: whole, in order, on every transport that a CPU has; ended when one side dies."""

from __future__ import annotations

import multiprocessing as mp
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist

from rollouts.arrival import checksums, describe_difference, sum_words
from rollouts.buffers import device_name
from rollouts.errors import TransferError
from rollouts.links import Line, Links
from rollouts.stream import Receiver, Sender
from rollouts.transport import Stream, Transport

CPU = torch.device("cpu")


def parameters(version: int = 0) -> list[tuple[str, torch.Tensor]]:
    """Tensors of several types and shapes: none of a bucket's size, one larger than a bucket, one empty, one a scalar."""
    generator = torch.Generator().manual_seed(version)
    shapes = [(3, 5), (64, 33), (1,), (), (0, 4), (7, 1000), (2, 2, 2), (129,), (40, 40)]
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float32, torch.bfloat16, torch.float32]
    kinds += [torch.int64, torch.bfloat16, torch.float32]
    tensors = [
        (torch.randn(shape, generator=generator) * 9).to(kind) for shape, kind in zip(shapes, kinds, strict=True)
    ]
    tensors[-1] = tensors[-1].T  # not contiguous
    return [(f"layers.{i}.weight", tensor) for i, tensor in enumerate(tensors)]


def receive(stream: Stream, worker: int, loads: int, pipe: Any) -> None:
    links = Links()
    for load in range(loads):
        this = Stream(**{**_fields(stream), "name": f"{stream.name}/{load}"})
        tensors = {}
        for bucket in Receiver(links, this, worker, CPU).buckets():
            tensors |= dict(bucket)
        pipe.send((list(tensors), checksums(tensors.items())))


def send(stream: Stream, rank: int, receivers: int, loads: int, pipe: Any) -> None:
    links = Links()
    for load in range(loads):
        this = Stream(**{**_fields(stream), "name": f"{stream.name}/{load}"})
        pipe.send(Sender(links, this, rank, receivers, CPU).send(parameters(load))[0])


def _fields(stream: Stream) -> dict[str, Any]:
    return {name: getattr(stream, name) for name in stream.__slots__}


def start(target: Callable[..., None], *arguments: Any) -> tuple[mp.Process, Any]:
    here, there = mp.Pipe()
    process = mp.get_context("fork").Process(target=target, args=(*arguments, there), daemon=True)
    process.start()
    there.close()
    return process, here


def open_store(listener: socket.socket) -> Any:
    """The store, which has threads: opened once all processes are forked."""
    port, descriptor = listener.getsockname()[1], listener.detach()
    return dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=descriptor)


def take(pipe: Any) -> Any:
    """What a process says, which on a busy machine may take its time."""
    assert pipe.poll(60), "it says nothing"
    return pipe.recv()


def run(transport: Transport, engines: int, workers: int, senders: int, loads: int = 2) -> tuple[list[Any], list[Any]]:
    """What each sender and each receiver says of each load."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    stream = Stream(transport, "127.0.0.1", port, "s", "g", engines, workers, senders, bucket_bytes=8192)
    pipes = []
    for rank in range(senders):
        readers = engines * workers if rank == 0 else 0
        pipes.append(start(send, stream, rank, readers, loads)[1])
    for engine in range(engines):
        for worker in range(workers):
            own = Stream(**{**_fields(stream), "engine": engine})
            pipes.append(start(receive, own, worker, loads)[1])
    store = open_store(listener)
    answers = [[take(pipe) for _ in range(loads)] for pipe in pipes]
    del store
    return answers[:senders], answers[senders:]


@pytest.mark.parametrize(
    ("transport", "engines", "workers", "senders"),
    [("gloo", 1, 1, 1), ("gloo", 2, 2, 2), ("gloo", 1, 3, 2), ("shared_memory", 2, 1, 1), ("shared_memory", 1, 2, 2)],
)
def test_every_worker_gets_every_tensor_whole(transport: Transport, engines: int, workers: int, senders: int) -> None:
    """Twice over the same connections; with more workers than one, each is sent its share and they exchange them."""
    sent, received = run(transport, engines, workers, senders)
    for load in range(2):
        expected = checksums(parameters(load))
        assert sent[0][load] == expected
        for worker in received:
            names, sums = worker[load]
            assert names == list(expected)
            assert describe_difference(expected, sums) == ""


def hang(stream: Stream, worker: int, pipe: Any) -> None:
    iterator = Receiver(Links(), stream, worker, CPU).buckets()
    next(iterator)
    pipe.send("first")
    pipe.recv()  # for ever, until it is killed


def try_to_send(stream: Stream, pipe: Any) -> None:
    try:
        Sender(Links(), stream, 0, stream.engines, CPU).send(parameters())
    except TransferError as error:
        pipe.send(str(error))


@pytest.mark.parametrize("transport", ["gloo", "shared_memory"])
def test_a_stream_that_the_driver_ends_lets_its_sender_go(transport: Transport) -> None:
    """An engine that dies half-way reads nothing more: its sender would wait for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    stream = Stream(transport, "127.0.0.1", listener.getsockname()[1], "s", "g", 1, 1, 1, bucket_bytes=1024)
    _, sender = start(try_to_send, stream)
    process, receiver = start(hang, stream, 0)
    store = open_store(listener)
    assert take(receiver) == "first"
    process.kill()
    Line(store, "s").end()
    assert "stream" in take(sender)


def try_to_receive(stream: Stream, worker: int, pipe: Any) -> None:
    try:
        for _ in Receiver(Links(), stream, worker, CPU).buckets():
            pass
    except TransferError as error:
        pipe.send(str(error))


@pytest.mark.parametrize(("transport", "place"), [("gloo", ""), ("shared_memory", f"{device_name(CPU)}/")])
def test_nobody_waits_for_an_engine_that_died_before_the_stream(transport: Transport, place: str) -> None:
    """Of two engines one never comes: sender and the other engine would wait for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    stream = Stream(transport, "127.0.0.1", listener.getsockname()[1], "s", "g", 2, 1, 1, bucket_bytes=1024)
    pipes = [start(try_to_send, stream)[1], start(try_to_receive, stream, 0)[1]]
    store = open_store(listener)
    line = Line(store, "s")
    line.get(f"{place}head/0")
    line.end()
    for pipe in pipes:
        assert "stream" in take(pipe)


def test_a_sender_that_lacks_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor larger than the buffer of its bucket takes a larger one, for which there is no memory."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    stream = Stream("shared_memory", "127.0.0.1", store.port, "s", "g", 1, 1, 1, bucket_bytes=1024)
    Line(store, "s").acknowledge(f"{device_name(CPU)}/read/0")
    sender = Sender(Links(), stream, 0, 1, CPU)
    allocate = sender._new_buffer

    def allocate_little(size: int) -> Any:
        if size > 4096:
            raise RuntimeError("out of memory")
        return allocate(size)

    monkeypatch.setattr(sender, "_new_buffer", allocate_little)
    tensors = [(str(i), torch.zeros(size)) for i, size in enumerate((256, 256, 2048))]
    with pytest.raises(TransferError, match=r"^the stream of weights broke: out of memory$"):
        sender.send(tensors)


def sums(tensors: Sequence[torch.Tensor]) -> list[int]:
    return [int(sum_words(tensor.reshape(-1).contiguous().view(torch.uint8))) for tensor in tensors]


def test_a_gpus_digest_sees_what_changes() -> None:
    """Computed here on CPU with the same integers: a bit, a sign, two signs, places of words, of rows, and the length."""
    base = torch.arange(5000, dtype=torch.float32) + 1
    changed = [base.clone() for _ in range(6)]
    changed[0][7] = changed[0][7].nextafter(torch.tensor(0.0))
    changed[1][-1] *= -1
    changed[2][[1, 3]] *= -1  # the highest bits of two words
    changed[3] = -base
    changed[4][:2], changed[4][2:4] = base[2:4], base[:2]
    changed[5] = base.roll(1000)
    variants = [base, *changed, base[:-1], base.bfloat16(), torch.zeros(1), torch.zeros(2), torch.zeros(0)]
    assert len(set(sums(variants))) == len(variants)
    unaligned = torch.zeros(4096 + 3, dtype=torch.uint8)
    unaligned[3:] = torch.arange(4096) % 251
    assert int(sum_words(unaligned[3:])) == int(sum_words(unaligned[3:].clone()))


def test_a_gpus_digest_is_of_all_pieces() -> None:
    long = torch.arange(3 * (1 << 21) + 5, dtype=torch.int64)
    swapped = torch.cat([long[1 << 21 : 2 << 21], long[: 1 << 21], long[2 << 21 :]])
    assert len(set(sums([long, swapped, long.flip(0)]))) == 3
