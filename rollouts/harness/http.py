"""Provides the parts of our HTTP servers: a socket, and requests whose token and size are checked before any other
work."""

from __future__ import annotations

import errno
import hmac
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from rl.config import ConfigError
from rollouts.harness.settings import AskError

MOST_BYTES = 64 << 20
"""Bytes of the largest request that is read."""
MOST_UNKNOWN_BYTES = 64 << 10
"""Bytes of the largest request without the token that is read before it is refused."""
MOST_CONNECTIONS = 4096
"""Most connections at a time, each with a thread; further ones are closed at once, so that idle clients cannot use up
memory."""
BODY_S = 120.0
"""Most seconds that a body may take to arrive."""
S = TypeVar("S", bound="Server")


class Server(ThreadingHTTPServer):
    """A socket that listens at an address; each connection has a thread."""

    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open is not waited for
    request_queue_size = 512  # many clients may begin at once

    def __init__(
        self, address: tuple[str, int], handler: type[RequestHandler], most_connections: int = MOST_CONNECTIONS
    ) -> None:
        """Listen at the address. Raises OSError if that fails, and UnicodeError for an invalid host name."""
        self.host = address[0]
        self._places = threading.BoundedSemaphore(most_connections)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, or close it where there are too many."""
        if not self._places.acquire(blocking=False):
            return self.shutdown_request(request)
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started; the server closes the connection
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection until it ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    @property
    def address(self) -> str:
        """The address with its scheme, as a client takes it."""
        return f"http://{self.host}:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a process that is killed resets its connection, and a run has its terminal for itself."""


def listen(build: Callable[[tuple[str, int]], S], host: str, port: int) -> S:
    """Return a server at an address. Raises ConfigError, naming the option that is wrong."""
    try:
        return build((host, port))
    except (OSError, UnicodeError) as error:  # names of hosts are encoded, too
        number = error.errno if isinstance(error, OSError) else None
        option = "--port" if number in (errno.EADDRINUSE, errno.EACCES, errno.EPERM) else "--host"
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"{option}: {host}:{port} cannot be served: {reason}; give another") from error


def choose_token(given: str, place: str) -> tuple[str, bool]:
    """Return (the token of clients, whether it was drawn): the one that was given, without blanks at its edges, else one that
    nobody guesses. Raises ConfigError for one that no header carries."""
    token = given.strip()
    if not token:
        return secrets.token_urlsafe(24), True
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{place}: a token has ASCII letters, digits and signs, without blanks; give another")
    return token, False


class RequestHandler(BaseHTTPRequestHandler):
    """Reads requests of one connection. A server extends it by its routes."""

    protocol_version = "HTTP/1.1"  # clients keep their connections
    timeout = 600.0  # seconds that a connection may be silent before it is closed
    disable_nagle_algorithm = True
    error_content_type = "application/json"  # of what the standard library refuses itself: methods, broken requests
    error_message_format = '{"error": {"message": "%(message)s", "code": "http", "type": "invalid_request_error"}}'
    most_bytes = MOST_BYTES

    @property
    def token(self) -> str:
        """The token that a client must have; empty for none."""
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a run has its terminal for itself."""

    def read_body(self) -> bytes:
        """Return the body of a request. Raises AskError for a wrong token, and for a body that is too long, too slow or
        of unknown length. A short body is read even if it is refused, since the connection goes on with the next
        request."""
        length = self.headers.get("Content-Length", "0").strip()
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise AskError("body", "send the body with a Content-Length", 411)
        # `int` raises ValueError for a text of thousands of digits.
        size = int(length) if len(length) < 16 else self.most_bytes + 1
        if size > (self.most_bytes if self.has_token() else MOST_UNKNOWN_BYTES):
            self.close_connection = True
            self.check_token()  # a client without the token is told that, not the limit
            raise AskError("body", f"a body of {length[:16]} bytes; at most {self.most_bytes:,} are read", 413)
        body = self._read(size)
        self.check_token()
        return body

    def _read(self, size: int) -> bytes:
        """Return `size` bytes of the connection. Raises AskError after BODY_S seconds, so that a client that sends a
        byte a minute, or none, does not hold its thread for longer."""
        pieces: list[bytes] = []
        deadline = time.monotonic() + BODY_S
        try:
            while size > 0:
                # Above 0, with which a socket would not wait at all.
                self.connection.settimeout(max(deadline - time.monotonic(), 1e-3))
                piece = self.rfile.read1(min(size, 1 << 16))
                if not piece or time.monotonic() > deadline:
                    raise TimeoutError
                pieces.append(piece)
                size -= len(piece)
        except TimeoutError:
            self.close_connection = True
            raise AskError("body", f"the body did not come whole within {BODY_S:g} s", 408) from None
        finally:
            self.connection.settimeout(self.timeout)
        return b"".join(pieces)

    def has_token(self) -> bool:
        """Return whether the request bears the token."""
        if not self.token:
            return True
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token.encode())

    def check_token(self) -> None:
        """Raise AskError unless the request bears the token."""
        if not self.has_token():
            raise AskError("token", "wrong or no token: give the one of this endpoint as the client's api_key", 401)

    def has_left(self) -> bool:
        """Return whether the client has closed its connection."""
        try:
            poll = select.poll()  # `select.select` takes no descriptor above 1,023
            poll.register(self.connection, select.POLLIN)
            # Readable without a byte to read: the other side has closed. A byte would be its next request, left unread.
            return bool(poll.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True
