"""Connections to a server: how many it takes at a time, and for how long it waits for one."""

from __future__ import annotations

import socket
import threading
import urllib.request

import pytest

from rollouts.harness import http
from rollouts.harness.http import RequestHandler, Server
from rollouts.harness.settings import AskError


class Greeting(RequestHandler):
    token = ""

    def do_POST(self) -> None:
        try:
            self.read_body()
            self.send_response(200)
        except AskError as error:
            self.send_response(error.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

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


@pytest.mark.parametrize(("sent", "status"), [(b"", 408), (b"he", 408), (b"hello", 200)])
def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, sent: bytes, status: int) -> None:
    monkeypatch.setattr(http, "BODY_S", 0.3 if status == 408 else 60.0)
    server = Server(("127.0.0.1", 0), Greeting)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with socket.create_connection(("127.0.0.1", server.server_address[1]), 30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n" + sent)
        assert connection.recv(100).split()[1] == str(status).encode()
    server.shutdown()
    server.server_close()
