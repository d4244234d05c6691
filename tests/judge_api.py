"""A stand-in for a judge: real HTTP on loopback, and no model."""

from __future__ import annotations

import json
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-very-secret"
HEARD = {"tones", "voice", "room", "louder"}


class Api(ThreadingHTTPServer):
    """A judge behind the chat completions API, that does what the question tells it to."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.tries = Counter[str]()
        self.busy = self.busiest = 0
        self.fails = False
        """Whether a bomb is the body of an error."""
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append(body)
            self.server.keys.add(self.headers.get("Authorization", ""))
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
        try:
            self.answer(body)
        except OSError:
            pass  # who asked has hung up
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def answer(self, body: dict[str, Any]) -> None:
        material = json.loads(body["messages"][1]["content"])
        deed, _, argument = material["question"].partition(" ")
        with self.server.lock:
            self.server.tries[deed] += 1
            first = self.server.tries[deed] <= (int(argument) if argument.isdigit() else 10**9)
        content: str | None = grade(body)
        message: dict[str, Any] = {}
        if deed == "status503" and first:
            return self.send(503, {"error": {"message": "overloaded"}})
        if deed == "status401":
            return self.send(401, {"error": {"message": f"wrong key {KEY}"}})
        if deed.startswith("redirect"):
            return self.redirect(int(deed.removeprefix("redirect")))
        if deed in ("bomb", "flood", "gzip", "brotli", "garbled"):
            return self.send_compressed(deed, content)
        if deed == "hangup" and first:
            return self.connection.close()
        if deed == "slow" and first:
            time.sleep(3.0)
        if deed == "nap":
            time.sleep(0.2)
        if deed == "drip":
            return self.drip()
        if deed == "prose" and first:
            content = "I would say 10 out of 10!"
        if deed == "outside" and first:
            content = json.dumps(json.loads(content) | {"right": 11, "grade": "best"})
        if deed == "half" and first:
            content = content[: len(content) // 2]
        if deed == "copy":
            content = material["answer"] if "answer" in material else material["A"]
        if deed == "refuse" and first:
            message, content = {"refusal": "I will not grade that"}, None
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
        self.send(200, {**whole, "choices": [choice]})

    def send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def redirect(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Location", f"{self.server.address}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_compressed(self, deed: str, content: str) -> None:
        """A verdict in gzip, or one that is followed by a gigabyte of spaces (`bomb`); `flood` is as long without."""
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        data = json.dumps(whole).encode()
        encoding = {"brotli": "br", "flood": "identity"}.get(deed, "gzip")
        self.send_response(500 if deed == "bomb" and self.server.fails else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Encoding", encoding)
        self.send_header("Connection", "close")
        self.end_headers()
        packer = zlib.compressobj(wbits=31)
        data += b" " * (1 << 10)
        if deed in ("gzip", "bomb"):
            data = packer.compress(data)
        self.wfile.write(data)
        for _ in range(1 << 10 if deed in ("bomb", "flood") else 0):
            spaces = b" " * (1 << 20)
            self.wfile.write(packer.compress(spaces) if deed == "bomb" else spaces)
        if deed in ("gzip", "bomb"):
            self.wfile.write(packer.flush())
        self.close_connection = True

    def drip(self) -> None:
        """A byte at a time: no read ever times out."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)

    def log_message(self, *_: Any) -> None:
        pass


def grade(body: dict[str, Any]) -> str:
    """Full marks where the reference is the answer; of two answers the one that begins as the question does."""
    schema = body["response_format"]["json_schema"]["schema"]
    return mark(body["messages"], schema)


def mark(messages: Any, schema: Any) -> str:
    material = json.loads(messages[1]["content"])
    seal = messages[0]["content"].partition('"seal": "')[2][:12]
    if "grade" in schema["properties"]:
        return json.dumps({"seal": seal, "why": "compared", "grade": prefers(material)})
    names = [name for name in schema["required"] if name not in ("seal", "why")]
    if "reference" in material:
        right = material["reference"] != "" and material["reference"] in material["answer"].split(".")[0]
    elif set(material) == {"question"}:  # one that has to be heard
        right = bool(HEARD & set(re.findall("[a-z]+", material["question"].lower())))
    else:  # of a chain: it names what is answered
        right = material["answer"] in material["reasoning"]
    return json.dumps({"seal": seal, "why": "compared", **dict.fromkeys(names, 10 if right else 0)})


def prefers(material: dict[str, Any]) -> str:
    """A judge with taste: the letter that is asked for, or else what says Paris; called `A first` it has none."""
    if material["question"].startswith("A first"):
        return "A much better"
    wanted = {"Paris", material["question"].split(" ")[0]}
    good = [bool(wanted & set(re.findall(r"\w+", material[place]))) for place in "AB"]
    if good[0] == good[1]:
        return "equal"
    return "A much better" if good[0] else "B much better"


@contextmanager
def served() -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
