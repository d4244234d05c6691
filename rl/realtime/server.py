"""The HTTP server of a model that answers while it thinks.

POST /v1/chat/completions      OpenAI's form; with "stream": true thoughts and words come as they are written
GET  /v1/models, /health, /metrics
GET  /                         the page of `rl talk`
"""

from __future__ import annotations

import json
import queue
import re
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from rl.realtime.answers import DONE, Report, as_event, fold
from rl.realtime.delivery import Delivery
from rl.realtime.engine import Answering, PacedEngine
from rl.realtime.page import page_headers, read_page
from rl.realtime.questions import QuestionReader, Wish
from rl.realtime.stream import Event
from rl.realtime.voice import Voice
from rollouts.harness.answers import error_json, models_json
from rollouts.harness.http import MOST_CONNECTIONS, RequestHandler, Server
from rollouts.harness.settings import AskError, as_refusal

LOOPBACK_HOSTS = frozenset(("localhost", "127.0.0.1", "[::1]"))
MOST_BYTES = 16 << 20
"""Size of a question: six minutes of speech as 16-bit WAV."""
LOOK_S = 0.25
"""Seconds between two looks whether a client is still there."""
RETRY_S = 1
"""Seconds after which a client that was refused may try again."""
TOGETHER = 256
"""Events that are sent in one piece, where a client is behind."""


@dataclass(frozen=True, slots=True)
class Service:
    """The engine, reader and voice with which a server answers."""

    engine: PacedEngine
    reader: QuestionReader
    token: str
    """Token of its clients; empty for none, on the loopback address."""
    voice: Voice | None = None
    has_page: bool = False


class RealtimeServer(Server):
    """A socket that listens at an address. Who connects waits there until it has a service and serves."""

    service: Service

    def __init__(self, address: tuple[str, int], most_connections: int = MOST_CONNECTIONS) -> None:
        """Raises OSError, and UnicodeError for a name that no host has, where the address cannot be listened at."""
        super().__init__(address, _Handler, most_connections)


class _GoneError(Exception):
    """The client has left before the end of its answer."""


class _Handler(RequestHandler):
    timeout = 60.0
    most_bytes = MOST_BYTES
    has_chunks = True

    @property
    def service(self) -> Service:
        return cast("RealtimeServer", self.server).service

    @property
    def token(self) -> str:
        return self.service.token

    def do_GET(self) -> None:
        self._guard(self._get)

    def do_POST(self) -> None:
        self._guard(self._post)

    def _guard(self, work: Callable[[], None]) -> None:
        """Do the work, or send its refusal."""
        try:
            work()
        except (_GoneError, OSError):  # the client has left
            self.close_connection = True
        except Exception as error:  # isolation boundary: one bad request must not end the server
            refusal = as_refusal(error)
            try:
                self._send(json.dumps(error_json(refusal)).encode(), status=refusal.status)
            except OSError:
                self.close_connection = True

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _get(self) -> None:
        path, service = self._path(), self.service
        self._check_site()
        if path == "/" and service.has_page:  # the page itself is no secret, and a browser sends no token for it
            self._send(read_page(), "text/html; charset=utf-8", page_headers())
            return
        self.read_body()
        if path == "/health":
            self._send(b"ok\n", "text/plain")
        elif path == "/metrics":
            text = service.engine.metrics.render(service.engine.gauges())
            self._send(text.encode(), "text/plain; version=0.0.4")
        elif path.rstrip("/") == "/v1/models":
            self._send(json.dumps({**models_json(), "has_voice": service.voice is not None}).encode())
        else:
            raise _no_route(path)

    def _post(self) -> None:
        path, engine = self._path(), self.service.engine
        self._check_site()
        if path.rstrip("/") != "/v1/chat/completions":
            self.read_body()
            raise _no_route(path)
        try:
            engine.enter()  # before the body is read: what waits has its place, also in memory
        except AskError:
            self._skip_body()
            raise
        try:
            wish = self.service.reader.read(_parse(self.read_body()))
            if wish.with_audio and not wish.is_streamed:
                raise AskError("setting", "modalities: sound comes as it is spoken; ask with stream: true")
            answering = engine.ask(wish.question)
            try:
                self._answer(wish, answering)
            finally:
                engine.drop(answering)  # a client that has left takes both decoders along
        finally:
            engine.leave()

    def _skip_body(self) -> None:
        """Read a short body that nobody needs, so that the connection goes on; leave a long one."""
        length = self.headers.get("Content-Length", "")
        if len(length) < 6 and length.isascii() and length.isdigit():
            self.read_body()
        else:
            self.close_connection = True
            self.check_token()

    def _answer(self, wish: Wish, answering: Answering) -> None:
        """Send an answer, as it is written or when it is whole. Raises _GoneError and OSError where the client leaves."""
        report = Report(f"chatcmpl-{secrets.token_hex(8)}", wish, self.service.engine.chat)
        delivery = Delivery(report, answering, self.service.voice)
        try:
            if wish.is_streamed:
                self._stream(delivery)
            else:
                chunks = [chunk for event in self._events(delivery) for chunk in delivery.take(event)]
                self._send(json.dumps(fold(chunks, report)).encode())
        finally:
            delivery.close()
            if delivery.first_audio_s is not None:
                self.service.engine.metrics.measure("first_audio_s", delivery.first_audio_s)

    def _stream(self, delivery: Delivery) -> None:
        events = self._events(delivery)
        # The first event decides on the status: a question that no engine takes is refused like any other.
        first = delivery.take(next(events))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        # Chunks are of HTTP/1.1; to others the end of the connection is the end of the answer.
        self.has_chunks = self.request_version != "HTTP/1.0"
        self.send_header(*(("Transfer-Encoding", "chunked") if self.has_chunks else ("Connection", "close")))
        self.end_headers()
        self._write(b"".join(map(as_event, first)))
        pieces: list[bytes] = []
        try:
            for event in events:
                pieces += map(as_event, delivery.take(event))
                if delivery.answering.events.empty() or len(pieces) >= TOGETHER:
                    self._write(b"".join(pieces))
                    pieces = []
        except AskError as error:  # the status is sent already
            pieces.append(as_event(error_json(error)))
        self._write(b"".join(pieces) + DONE)
        if self.has_chunks:
            self.wfile.write(b"0\r\n\r\n")

    def _events(self, delivery: Delivery) -> Generator[Event]:
        """Yield the events of an answer until it is over. Raises _GoneError."""
        next_look = time.monotonic() + LOOK_S
        while not delivery.is_over:
            with suppress(queue.Empty):
                yield delivery.answering.events.get(timeout=LOOK_S)
            if time.monotonic() > next_look:
                next_look = time.monotonic() + LOOK_S
                if self.has_left():
                    raise _GoneError

    def _write(self, data: bytes) -> None:
        """Write a piece of a body whose length nobody knows yet."""
        if data:  # an empty one would end the body
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if self.has_chunks else data)

    def _send(
        self,
        content: bytes,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 429:
            self.send_header("Retry-After", str(RETRY_S))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _check_site(self) -> None:
        """Raise AskError for a request that another site has made a browser send, where no token keeps it out."""
        if self.token:
            return
        host = self.headers.get("Host", "")
        name = host.strip().rpartition(":")[0] if re.search(r":\d*$", host) else host
        # A name that somebody lets point to this machine gives its pages the same origin as ours.
        if name.lower() not in LOOPBACK_HOSTS | {cast("Server", self.server).host}:
            raise AskError("host", "this server answers on the loopback address alone", 403)
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise AskError("origin", "pages of other sites may not ask this server", 403)


def _parse(body: bytes) -> dict[str, object]:
    try:
        values: object = json.loads(body)
    except (ValueError, RecursionError):
        raise AskError("body", "the body is no JSON") from None
    if not isinstance(values, dict):
        raise AskError("body", 'the body is no JSON object; send {"messages": [...]}')
    return cast("dict[str, object]", values)


def _no_route(path: str) -> AskError:
    return AskError(
        "route",
        f"{path[:80]}: nothing is served there; there is /v1/chat/completions, /v1/models, /health, /metrics",
        404,
    )
