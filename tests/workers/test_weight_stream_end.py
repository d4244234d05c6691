"""A stream of weights is ended also where the rank is gone that holds its store."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from rl.workers import weight_stream
from rl.workers.weight_stream import Route, WeightStream
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
