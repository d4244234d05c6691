"""Connections to a server: how many it takes at a time."""

from __future__ import annotations

import threading
import urllib.request

import pytest

from rollouts.harness.http import RequestHandler, Server


class Greeting(RequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def ask(server: Server) -> int:
    with urllib.request.urlopen(f"{server.address}/", timeout=60) as response:
        status: int = response.status
    return status


def test_a_connection_that_got_no_thread_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(("127.0.0.1", 0), Greeting, most_connections=3)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if "process_request" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        for _ in range(3):
            with pytest.raises(OSError, match=r"(?i)connection"):
                ask(server)
    assert [ask(server) for _ in range(3)] == [200, 200, 200]
    server.shutdown()
    server.server_close()
