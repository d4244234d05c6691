"""A stream of weights is ended also where the rank is gone that holds its store, and an engine that is gone is in none."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from rl.workers import weight_stream
from rl.workers.weight_stream import Route, WeightStream
from rollouts.links import Links
from rollouts.stream import Receiver, Sender
from rollouts.transport import Stream


def test_a_store_that_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    stream = WeightStream([], Route("gloo"))
    stream.stream = Stream("gloo", "127.0.0.1", port, "a", "b", 1, 1, 1, 1 << 20)
    assert timedelta(seconds=30) >= weight_stream.END_TIMEOUT  # torch's own is five minutes
    monkeypatch.setattr(weight_stream, "END_TIMEOUT", timedelta(seconds=1))
    stream.end()
    assert stream.failed == 1


def test_an_engine_that_was_replaced_is_reached_over_new_connections() -> None:
    """While it was written and not loaded, so that no stream has failed. Connections that nobody uses any more are dropped."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    threads, cpu, weight = ThreadPoolExecutor(8), torch.device("cpu"), torch.arange(12.0)
    rank, engines = Links(), [Links(), Links()]

    def send(stream: Stream, receivers: int) -> Future[Any]:
        return threads.submit(Sender(rank, stream, 0, receivers, cpu).send, [("w", weight)])

    def receive(stream: Stream, links: Links) -> dict[str, torch.Tensor]:
        return {name: tensor for bucket in Receiver(links, stream, 0, cpu).buckets() for name, tensor in bucket}

    actor: Any = SimpleNamespace(send_weights=SimpleNamespace(remote=send))
    source = WeightStream([actor], Route("gloo"))
    source.address = "127.0.0.1", store.port

    def load(members: Sequence[int], replaced: int) -> None:
        streams, (sending,) = source.start(members, replaced)
        receiving = [threads.submit(receive, stream, engines[i]) for i, stream in zip(members, streams, strict=True)]
        for received in receiving:
            assert torch.equal(received.result(30)["w"], weight)
        sending.result(30)  # type: ignore[attr-defined]

    load([0, 1], 0)
    load([0, 1], 0)
    assert [len(links._groups) for links in (rank, *engines)] == [1, 1, 1]
    for replaced, i in enumerate((1, 1, 0), 1):
        engines[i] = Links()  # a new process, which has no connections
        load([i], replaced)
        load([0, 1], replaced)
        assert [len(links._groups) for links in (rank, *engines)] == [1, 1, 1]
    threads.shutdown()
