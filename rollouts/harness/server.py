"""Serves a harness's questions by HTTP, on the loopback address and behind a token.

GET  /v1/models, /sessions/ID/v1/models
POST /sessions/ID/v1/chat/completions     the session stands in the address, for clients that take nothing but one
POST /v1/chat/completions                 the session stands in the header X-Session-Id, in metadata.session_id or in user
POST /sessions/ID/finish                  {"reward": 1.0}, where a client ends its sessions itself
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from rollouts.harness.answers import error_json, models_json, to_events
from rollouts.harness.asks import read_ask
from rollouts.harness.http import RequestHandler, Server
from rollouts.harness.session import Body
from rollouts.harness.sessions import Sessions
from rollouts.harness.settings import AskError, as_refusal

LOOPBACK = "127.0.0.1"
LOOK_S = 0.5
"""Seconds between two checks of whether a waiting client is still connected."""
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
        """Begin to answer at the `listener`'s address, by default any free port of the loopback address. `open_session`
        is called with the id of each session that is asked for anything."""
        self.sessions, self.token = sessions, token
        self.open_session, self.finish = open_session, finish
        self._server = listener or Listener((LOOPBACK, 0))
        self._server.endpoint = self
        self.address = self._server.address
        # Polled 20 times a second, since `close` waits for the next poll.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="harness server", daemon=True
        )
        self._thread.start()

    def base_url(self, session: str) -> str:
        """Return the address that a client of one session is given."""
        return f"{self.address}/sessions/{session}/v1"

    def close(self) -> None:
        """Take no more requests. Earlier ones are still answered."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Listener(Server):
    """A socket that listens at an address. Clients may connect before its endpoint exists, and wait until it
    answers."""

    endpoint: Endpoint

    def __init__(self, address: tuple[str, int]) -> None:
        """Listen at the address. Raises OSError if that fails, and UnicodeError for an invalid host name."""
        super().__init__(address, _Handler)


class _Handler(RequestHandler):
    @property
    def endpoint(self) -> Endpoint:
        return cast("Listener", self.server).endpoint

    @property
    def token(self) -> str:
        return self.endpoint.token

    def do_GET(self) -> None:
        self._respond(self._get)

    def do_POST(self) -> None:
        self._respond(self._post)

    def _respond(self, work: Callable[[bytes], Body | bytes]) -> None:
        """Send what the work returns, or its refusal."""
        try:
            body, status = work(self.read_body()), 200
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

    def _get(self, body: bytes) -> Body:
        path = urlsplit(self.path).path
        match = _PATH.fullmatch(path)
        if path.rstrip("/") == "/v1/models" or (match and match[2] == "v1/models"):
            return models_json()
        raise _no_route(path)

    def _post(self, body: bytes) -> Body | bytes:
        path = urlsplit(self.path).path
        match = _PATH.fullmatch(path)
        # A session may be finished without a word: then the body is empty.
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
                if self.has_left():
                    self.endpoint.sessions.withdraw(session, future)
                    raise _GoneError from None


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
