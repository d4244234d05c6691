"""The HTTP server of a harness's questions, on the loopback address and behind a token.

GET  /v1/models, /sessions/ID/v1/models
POST /sessions/ID/v1/chat/completions     the session stands in the address, for clients that take nothing but one
POST /v1/chat/completions                 the session stands in the header X-Session-Id, in metadata.session_id or in user
POST /sessions/ID/finish                  {"reward": 1.0}, where a client ends its sessions itself
"""

from __future__ import annotations

import hmac
import json
import re
import select
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from rollouts.harness.answers import error_json, models_json, to_events
from rollouts.harness.asks import read_ask
from rollouts.harness.session import Body
from rollouts.harness.sessions import Sessions
from rollouts.harness.settings import AskError, as_refusal

LOOPBACK = "127.0.0.1"
MOST_BYTES = 64 << 20
"""Size of a request."""
MOST_UNKNOWN_BYTES = 64 << 10
"""Size of a request without the token that is read before it is refused."""
LOOK_S = 0.5
"""Seconds between two looks whether a client that waits is still there."""
_SESSION = re.compile(r"[\w.:@-]{1,128}")
_PATH = re.compile(r"/sessions/([^/]+)/(v1/chat/completions|v1/models|finish)/?")
Finish = Callable[[str, Mapping[str, object]], Body]
"""Ends a session with what its client says of it, and returns the answer."""


class Endpoint:
    """A server of sessions, which answers from its construction to `close`."""

    def __init__(
        self,
        sessions: Sessions,
        token: str,
        listener: Listener | None = None,
        open_session: Callable[[str], None] = lambda id: None,
        finish: Finish | None = None,
    ) -> None:
        """`listener` has the address, by default any free port of the loopback address; `open_session` is called with the id of
        each session that is asked for anything."""
        self.sessions, self.token = sessions, token
        self.open_session, self.finish = open_session, finish
        self._server = listener or Listener((LOOPBACK, 0))
        self._server.endpoint = self
        self.address = f"http://{self._server.host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="harness server", daemon=True
        )
        self._thread.start()

    def base_url(self, session: str) -> str:
        """Return the address that a client of one session is given."""
        return f"{self.address}/sessions/{session}/v1"

    def close(self) -> None:
        """Take no more requests. Answers to those before are still sent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Listener(ThreadingHTTPServer):
    """A socket that listens at an address. Who connects waits there until its endpoint answers."""

    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open is not waited for
    request_queue_size = 512  # many sessions may begin at once
    endpoint: Endpoint

    def __init__(self, address: tuple[str, int]) -> None:
        """Raises OSError, and UnicodeError for a name that no host has, where the address cannot be listened at."""
        self.host = address[0]
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a process that is killed resets its connection, and a run has its terminal for itself."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # clients keep their connections
    timeout = 600.0
    disable_nagle_algorithm = True
    error_content_type = "application/json"  # of what the standard library refuses itself: methods, broken requests
    error_message_format = '{"error": {"message": "%(message)s", "code": "http", "type": "invalid_request_error"}}'

    @property
    def endpoint(self) -> Endpoint:
        return cast("Listener", self.server).endpoint

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a run has its terminal for itself."""

    def do_GET(self) -> None:
        self._respond(self._get)

    def do_POST(self) -> None:
        self._respond(self._post)

    def _respond(self, work: Callable[[bytes], Body | bytes]) -> None:
        """Send what the work returns, or its refusal."""
        try:
            body, status = work(self._read_body()), 200
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        except _GoneError:
            self.close_connection = True
            return
        except Exception as error:  # isolation boundary: one bad request must not end the server
            refusal = as_refusal(error)
            content, status = json.dumps(error_json(refusal)).encode(), refusal.status
        try:
            self.send_response(status)
            is_stream = content.startswith(b"data: ")
            self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client has left
            self.close_connection = True

    def _read_body(self) -> bytes:
        """Return the body of a request whose token is right. Read also where it is refused, if it is not long: the connection
        goes on with the next one."""
        length = self.headers.get("Content-Length", "0").strip()
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise AskError("body", "send the body with a Content-Length", 411)
        # Python reads no number of thousands of digits.
        size = int(length) if len(length) < 16 else MOST_BYTES + 1
        if size > (MOST_BYTES if self._has_token() else MOST_UNKNOWN_BYTES):
            self.close_connection = True
            self._check_token()  # who has none is told that first
            raise AskError("body", f"a body of {length[:16]} bytes; at most {MOST_BYTES:,} are read", 413)
        body = self.rfile.read(size)
        self._check_token()
        return body

    def _has_token(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.endpoint.token.encode())

    def _check_token(self) -> None:
        if not self._has_token():
            raise AskError("token", "wrong or no token: give the one of this endpoint as the client's api_key", 401)

    def _get(self, body: bytes) -> Body:
        path = urlsplit(self.path).path
        match = _PATH.fullmatch(path)
        if path.rstrip("/") == "/v1/models" or (match and match[2] == "v1/models"):
            return models_json()
        raise _no_route(path)

    def _post(self, body: bytes) -> Body | bytes:
        path = urlsplit(self.path).path
        match = _PATH.fullmatch(path)
        values = _parse(body, may_lack=bool(match and match[2] == "finish"))
        if match and match[2] == "v1/chat/completions":
            return self._complete(unquote(match[1]), values)
        if match and match[2] == "finish" and self.endpoint.finish:
            return self.endpoint.finish(_check_id(unquote(match[1])), cast("Mapping[str, object]", values))
        if path.rstrip("/") == "/v1/chat/completions":
            return self._complete(self._session_named(cast("Mapping[str, Any]", values)), values)
        raise _no_route(path)

    def _session_named(self, values: Mapping[str, Any]) -> str:
        metadata = values.get("metadata")
        inside = cast("Mapping[str, object]", metadata).get("session_id") if isinstance(metadata, dict) else None
        session = self.headers.get("X-Session-Id") or inside or values.get("user")
        if not isinstance(session, str):
            raise AskError(
                "unknown_session",
                f"no session is named: use the address {self.endpoint.address}/sessions/ID/v1, or the header X-Session-Id",
            )
        return session

    def _complete(self, session: str, values: object) -> Body | bytes:
        """Wait for the answer to a question."""
        _check_id(session)
        try:
            self.endpoint.open_session(session)
            ask = read_ask(values)
        except AskError as error:
            self.endpoint.sessions.note(session, error)
            raise
        future = self.endpoint.sessions.ask(session, ask)
        while True:
            try:
                answer = future.result(LOOK_S)
                return to_events(answer, ask.with_usage) if ask.is_streamed else answer
            except TimeoutError:
                if self._has_left():
                    self.endpoint.sessions.withdraw(session, future)
                    raise _GoneError from None

    def _has_left(self) -> bool:
        """Return whether the client has closed its connection."""
        try:
            poll = select.poll()  # `select.select` takes no descriptor above 1,023
            poll.register(self.connection, select.POLLIN)
            return bool(poll.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True


class _GoneError(Exception):
    """The client has left before its answer."""


def _parse(body: bytes, may_lack: bool) -> object:
    if may_lack and not body.strip():
        return {}
    try:
        values: object = json.loads(body)
    except (ValueError, RecursionError):
        raise AskError("body", "the body is no JSON") from None
    if not isinstance(values, dict):
        raise AskError("body", 'the body is no JSON object; send {"messages": [...]}')
    return cast("object", values)


def _check_id(session: str) -> str:
    if not _SESSION.fullmatch(session):
        raise AskError("unknown_session", "a session's id has 1 to 128 letters, digits or any of _ . : @ -", 404)
    return session


def _no_route(path: str) -> AskError:
    routes = "/v1/chat/completions, /v1/models, the same under /sessions/ID"
    return AskError("route", f"{path[:80]}: nothing is served there; there is {routes}", 404)


def wait_for(future: Future[Any], timeout_s: float) -> Any:  # Any: what the caller's future holds
    """Return what a future holds. Raises AskError where it does not come in time."""
    try:
        return future.result(timeout_s)
    except TimeoutError:
        raise AskError("busy", f"no answer within {timeout_s:g} s; try again", 503) from None
