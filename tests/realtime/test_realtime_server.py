"""The HTTP server of paced answers, with a policy of letters: forms, refusals, cancellation, back-pressure, sound."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from letter_policy import CHAT, LetterEngine
from test_paced_stream import answer_offline

from rl.realtime.engine import Bounds, PacedEngine
from rl.realtime.questions import QuestionReader
from rl.realtime.server import RealtimeServer, Service
from rl.realtime.voice import CommandVoice, Voice
from rl.stages.paced_answer import Pace

VOICE = "import sys, wave; t = sys.stdin.read(); w = wave.open(sys.stdout.buffer, 'wb'); w.setnchannels(1); w.setsampwidth(2); w.setframerate(8000); w.writeframes(bytes(2 * len(t))); w.close()"
PACE = Pace("think_first", 5, 3)


@contextmanager
def serving(
    engine: LetterEngine, bounds: Bounds | None = None, token: str = "", voice: Voice | None = None, page: bool = False
) -> Generator[tuple[str, PacedEngine]]:
    """A server, and the engine behind it."""
    failures: list[str] = []
    paced = PacedEngine(engine, CHAT, PACE, bounds, fail=failures.append)
    server = RealtimeServer(("127.0.0.1", 0))
    server.service = Service(paced, QuestionReader(CHAT, 128, 0.0, voice is not None), token, voice, page)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.address, paced
    finally:
        server.shutdown()
        server.server_close()
        paced.close()


def body(text: str, **settings: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "seed": 1, "return_token_ids": True, **settings}


def post(url: str, values: object, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    """(status, body, headers) of a question."""
    data = values if isinstance(values, bytes) else json.dumps(values).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read().decode()
            return response.status, text if "data: " in text[:7] else json.loads(text), response.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, str, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=30) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def chunks_of(text: str) -> list[dict[str, Any]]:
    """The JSON of a stream's events."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def parts_of(chunks: list[dict[str, Any]]) -> dict[str, tuple[str, list[int]]]:
    """{kind: (text, ids)} of a stream."""
    parts: dict[str, tuple[str, list[int]]] = {"content": ("", []), "reasoning_content": ("", [])}
    for chunk in chunks:
        choice = chunk["choices"][0]
        for name in parts.keys() & choice["delta"].keys():
            text, ids = parts[name]
            parts[name] = text + choice["delta"][name], ids + choice["token_ids"]
    return parts


def test_a_stream_has_thoughts_and_words_and_what_they_took() -> None:
    with serving(LetterEngine()) as (url, _):
        status, text, _ = post(url, body("hello", stream=True, stream_options={"include_usage": True}))
        assert status == 200
        chunks = chunks_of(text)
        parts, last = parts_of(chunks), chunks[-1]
        reader = QuestionReader(CHAT, 128, 0.0, False)
        question = reader.read(body("hello")).question
        said, speech, thoughts = answer_offline(question, PACE)
        assert parts["content"][1] == said
        assert parts["content"][0] == CHAT.written(said)
        assert parts["reasoning_content"][1] == list(thoughts.chain[: len(parts["reasoning_content"][1])])
        assert last["choices"][0]["finish_reason"] in ("stop", "length")
        assert last["pace"]["prefill_tokens"] == speech.prefill
        assert last["pace"]["first_token_s"] > 0
        assert last["usage"]["completion_tokens"] == last["pace"]["thought_tokens"] + len(said)
        whole = post(url, body("hello"))[1]
        assert whole["choices"][0]["message"]["content"] == parts["content"][0]
        assert whole["choices"][0]["token_ids"] == said
        metrics = get(f"{url}/metrics")[1]
        assert "groundtone_finished_total 2" in metrics
        assert "groundtone_first_token_s_count 2" in metrics
        assert "groundtone_running 0" in metrics


def test_many_streams_at_once_are_each_its_lone_answer() -> None:
    """More of them than places: those that are refused come again, and no token is lost or another's."""
    engine = LetterEngine(step_s=0.001)
    reader = QuestionReader(CHAT, 128, 0.0, False)
    refused: list[int] = []

    def ask(number: int) -> tuple[int, list[int]]:
        while True:
            status, text, headers = post(url, body(f"question {number}", stream=True))
            if status != 429:
                return number, parts_of(chunks_of(text))["content"][1]
            assert headers["Retry-After"] == "1"
            refused.append(number)
            time.sleep(0.05)

    with serving(engine, Bounds(8, 24)) as (url, paced), ThreadPoolExecutor(60) as pool:
        answers = dict(pool.map(ask, range(120)))
        assert paced.gauges() == {"running": 0, "waiting": 0}
    for number, said in answers.items():
        assert said == answer_offline(reader.read(body(f"question {number}")).question, PACE)[0]
    assert refused, "there were more than could wait"


def test_a_client_that_leaves_takes_both_decoders_along() -> None:
    engine = LetterEngine(step_s=0.05)
    with serving(engine) as (url, paced):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.request("POST", "/v1/chat/completions", json.dumps(body("question 3", stream=True)))
        response = connection.getresponse()
        assert response.read(10)
        assert paced.gauges()["running"] == 1
        assert connection.sock is not None
        response.close()
        connection.close()
        wait_until(lambda: not engine.streams)
        wait_until(lambda: paced.gauges()["running"] == 0)
        assert "groundtone_cancelled_total 1" in get(f"{url}/metrics")[1]


def test_one_that_waits_and_leaves_is_never_begun() -> None:
    engine = LetterEngine(step_s=0.05)
    with serving(engine, Bounds(1, 1)) as (url, paced):
        first = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        first.request("POST", "/v1/chat/completions", json.dumps(body("one", stream=True)))
        wait_until(lambda: paced.gauges()["running"] == 1)
        second = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        second.request("POST", "/v1/chat/completions", json.dumps(body("two", stream=True)))
        wait_until(lambda: paced.gauges()["waiting"] == 1)
        status, refusal, headers = post(url, body("three"))
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "1 answers are written and 1 wait" in refusal["error"]["message"]
        second.close()
        wait_until(lambda: paced.gauges()["waiting"] == 0)
        first.close()
        wait_until(lambda: not engine.streams)
        assert {name.partition("/")[0] for name, _ in engine.asked} == {"1"}


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("values", "status", "problem"),
    [
        (b"{", 400, "no JSON"),
        (b"[1]", 400, "no JSON object"),
        (b"[" * 100_000, 400, "no JSON"),
        ({}, 400, "messages: expected a list"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, 400, "tools: not done"),
        ({"stop": "x"}, 400, "stop: not done"),
        ({"logprobs": True}, 400, "logprobs: not done"),
        ({"n": 2}, 400, "n: 2"),
        ({"temperature": -1}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"return_token_ids": 1}, 400, "neither true nor false"),
        ({"modalities": ["video"]}, 400, "modalities"),
        ({"modalities": ["text", "audio"], "stream": True}, 400, "no voice"),
        ({"messages": [{"role": "user", "content": "x" * 500}]}, 400, "leave no room"),
        ({"messages": [{"role": "user", "content": "x" * 1_000_000}]}, 400, "characters do not fit"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "!"}}]}]},
            400,
            "base64",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]},
            400,
            "audio",
        ),
    ],
)
def test_what_is_not_done_is_refused_in_one_line(values: Any, status: int, problem: str) -> None:
    with serving(LetterEngine()) as (url, _):
        sent = values if isinstance(values, bytes) else {**({} if values == {} else body("x")), **values}
        answer = post(url, sent)
        assert answer[0] == status
        assert problem in answer[1]["error"]["message"]
        assert "\n" not in answer[1]["error"]["message"]
        assert post(url, body("hello"))[0] == 200, "the next one is answered"


def test_other_sites_and_other_names_are_kept_out_where_no_token_does() -> None:
    with serving(LetterEngine(), page=True) as (url, _):
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert post(url, body("x"), headers)[0] == 403
            assert get(f"{url}/", headers)[0] == 403
        assert post(url, body("x"), {"Origin": url})[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1:80", 200), ("LOCALHOST:9", 200), ("[::1]:80", 200), ("[", 403), ("", 403),
        ("localhost.evil.example", 403), ("evil.example:127", 403), ("127.0.0.1@evil.example", 403), ("localhost:80:80", 403),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(host: str, status: int) -> None:
    with serving(LetterEngine()) as (url, _):
        assert get(f"{url}/health", {"Host": host})[0] == status
        assert get(f"{url}//[", {"Host": "localhost"})[0] == 404


def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    with serving(LetterEngine()) as (url, _):
        sent = json.dumps(body("hello", stream=True))
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10) as client:
            head = f"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
            client.sendall(f"{head}{sent}".encode())
            text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        assert chunks_of(text.partition("\r\n\r\n")[2])[-1]["pace"]


def test_a_token_is_wanted_for_all_but_nothing() -> None:
    with serving(LetterEngine(), token="secret") as (url, _):
        for path in ("/v1/models", "/metrics", "/health"):
            assert get(url + path)[0] == 401
            assert get(url + path, {"Authorization": "Bearer secret"})[0] == 200
        assert post(url, body("x"))[0] == 401
        assert post(url, body("x"), {"Authorization": "Bearer wrong"})[0] == 401
        assert post(url, body("x"), {"Authorization": "Bearer secret", "Origin": "http://elsewhere"})[0] == 200


def test_bodies_are_bounded() -> None:
    with serving(LetterEngine()) as (url, _):
        for length, status in (("99999999", 413), ("9" * 5000, 413), ("-1", 411), ("x", 411)):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10) as client:
                client.sendall(
                    f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
                )
                assert f" {status} " in client.recv(200).decode().split("\r\n")[0]


def test_connections_that_say_nothing_keep_nobody_out_for_ever() -> None:
    server = RealtimeServer(("127.0.0.1", 0), most_connections=3)
    engine = PacedEngine(LetterEngine(), CHAT, PACE)
    server.service = Service(engine, QuestionReader(CHAT, 128, 0.0, False), "")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    silent = [socket.create_connection(("127.0.0.1", server.server_address[1]), 10) for _ in range(3)]
    try:
        with socket.create_connection(("127.0.0.1", server.server_address[1]), 10) as fourth:
            assert fourth.recv(1) == b"", "it is closed at once"
        for client in silent:
            client.close()
        wait_until(lambda: is_answered(f"{server.address}/health"))
    finally:
        server.shutdown()
        server.server_close()
        engine.close()


def is_answered(url: str) -> bool:
    try:
        return get(url)[0] == 200
    except OSError:
        return False


def test_an_engine_that_fails_tells_those_who_wait() -> None:
    engine = LetterEngine(step_s=0.02)
    with serving(engine) as (url, paced):
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(post, url, body(f"question {n}", stream=True)) for n in range(3)]
            wait_until(lambda: paced.gauges()["running"] == 3)
            engine.broken.set()
            texts = [future.result()[1] for future in asked]
        for text in texts:
            assert "the engine has failed: RuntimeError: out of memory" in str(text)
        status, refusal, _ = post(url, body("later"))
        assert status == 500
        assert "out of memory" in refusal["error"]["message"]


def test_phrases_are_heard_in_order_while_the_rest_is_written(tmp_path: Path) -> None:
    with serving(LetterEngine(), voice=CommandVoice((sys.executable, "-c", VOICE))) as (url, _):
        text = post(url, body("question 7", stream=True, modalities=["text", "audio"]))[1]
        chunks = chunks_of(text)
        phrases = [
            c["choices"][0]["delta"]["audio"]["transcript"] for c in chunks if "audio" in c["choices"][0]["delta"]
        ]
        content = parts_of(chunks)["content"][0]
        assert phrases
        place = 0
        for phrase in phrases:
            place = content.index(phrase, place) + len(phrase)
        assert chunks[-1]["pace"]["first_audio_s"] >= chunks[-1]["pace"]["first_token_s"]
        # Counted once the answer is sent.
        wait_until(lambda: "groundtone_first_audio_s_count 1" in get(f"{url}/metrics")[1])
        refusal = post(url, body("x", modalities=["text", "audio"]))
        assert refusal[0] == 400
        assert "stream: true" in refusal[1]["error"]["message"]


def test_a_voice_that_fails_leaves_the_text() -> None:
    with serving(LetterEngine(), voice=CommandVoice((sys.executable, "-c", "raise SystemExit(3)"))) as (url, _):
        chunks = chunks_of(post(url, body("question 7", stream=True, modalities=["text", "audio"]))[1])
        errors = [c["choices"][0]["delta"]["audio"]["error"] for c in chunks if "audio" in c["choices"][0]["delta"]]
        assert errors == [f"{sys.executable}: ended with code 3"]
        assert chunks[-1]["pace"]["first_audio_s"] is None
        assert parts_of(chunks)["content"][0]


def test_the_page_runs_its_own_script_and_asks_nobody_else() -> None:
    with serving(LetterEngine(), page=True) as (url, _):
        status, text, headers = get(f"{url}/")
        assert status == 200
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe-inline" not in policy.partition("style-src")[0]
        for forbidden in ("innerHTML", "insertAdjacentHTML", "document.write", "http://", "https://", "eval("):
            assert forbidden not in text
    with serving(LetterEngine()) as (url, _):
        assert get(f"{url}/")[0] == 404
