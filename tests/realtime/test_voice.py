"""Text that is cut into phrases and spoken: where it is cut, and what a voice may do."""

from __future__ import annotations

import io
import json
import os
import queue
import sys
import threading
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from rl.config import ConfigError
from rl.realtime import voice as voices
from rl.realtime.delivery import AHEAD, Speaker
from rl.realtime.growing_text import GrowingText
from rl.realtime.phrases import Phrases
from rl.realtime.stream import Silence, Sound
from rl.realtime.voice import CommandVoice, EndpointVoice, VoiceError, choose_voice, clean, whole_wav

HERE = threading.Event()


def wav(samples: int = 80) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(2 * samples))
    return data.getvalue()


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("It is three. And four!", ["It is three.", "And four!"]),
        ("It is 3.5 m, e.g.so.", ["It is 3.5 m, e.g.so."]),
        ('"Yes." she said. No', ['"Yes."', "she said.", "No"]),
        ("One line\nand another", ["One line", "and another"]),
        ("一二三。四五六！", ["一二三。", "四五六！"]),
        ("short, and a comma behind enough words, ends it", ["short, and a comma behind enough words,", "ends it"]),
        ("- \n* \n( )", []),
        ("", []),
        ("هل هذا صحيح؟ نعم", ["هل هذا صحيح؟", "نعم"]),
        ("word " * 60, None),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_phrase_ends_where_a_speaker_breathes(text: str, phrases: list[str] | None, step: int) -> None:
    cutter, heard = Phrases(), list[str]()
    for start in range(0, len(text), step):
        heard += cutter.add(text[start : start + step])
    heard += cutter.rest()
    assert "".join("".join(heard).split()) == "".join(text.split()) or phrases == []
    if phrases is None:
        assert max(map(len, heard)) < 200
    else:
        assert heard == phrases


@pytest.mark.parametrize("text", ["plain", "é € 𝄞 日本", "a\ufffd b", "\x00\xff€"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_text_grows_by_whole_characters(text: str, step: int) -> None:
    growing, ids, pieces = GrowingText(lambda ids: bytes(ids).decode("utf-8", "replace")), text.encode(), list[str]()
    for start in range(0, len(ids), step):
        pieces.append(growing.add(list(ids[start : start + step])))
        assert text.startswith("".join(pieces))
    assert "".join(pieces) + growing.rest() == text


def test_text_that_is_none_is_passed_on_in_the_end() -> None:
    growing = GrowingText(lambda ids: bytes(ids).decode("utf-8", "replace"))
    pieces = [growing.add([0x80]) for _ in range(100)]
    assert len("".join(pieces)) > 80
    assert "".join(pieces) + growing.rest() == "\ufffd" * 100


def test_a_command_reads_text_and_writes_sound(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(wav())
    program = f"import sys; t = sys.stdin.read(); assert t == 'hello $(rm x) ; there\\n', t; sys.stdout.buffer.write(open({str(tmp_path / 'sound.wav')!r}, 'rb').read())"
    voice = CommandVoice((sys.executable, "-c", program))
    assert voice.speak("hello $(rm x)\x1b\x00 ;\nthere", HERE) == wav()


def test_no_voice_is_given_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(voices.SERVER_TOKEN, "secret")
    program = "import os, sys; sys.exit(7 if any('secret' in v for v in os.environ.values()) else 5)"
    with pytest.raises(VoiceError, match="code 5"):
        CommandVoice((sys.executable, "-c", program)).speak("x", HERE)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("raise SystemExit(3)", "ended with code 3"),
        ("print('no sound')", "gave no WAV"),
        ("", "gave no WAV"),
        ("import sys; sys.stdout.buffer.write(b'RIFF    WAVEfmt ')", "without sound"),
        ("while True: print('x' * 100000)", "MB of sound"),
        ("import time; time.sleep(60)", "no sound within"),
    ],
)
def test_a_command_that_fails_is_one_line(program: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(voices, "MOST_S", 3.0 if "print('x'" in program else 0.5 if "sleep" in program else 30.0)
    with pytest.raises(VoiceError, match=problem) as error:
        CommandVoice((sys.executable, "-c", program)).speak("x", HERE)
    assert "\n" not in str(error.value)


def test_a_voice_stops_when_nobody_listens() -> None:
    gone = threading.Event()
    threading.Timer(0.2, gone.set).start()
    with pytest.raises(VoiceError, match="nobody listens"):
        CommandVoice((sys.executable, "-c", "import time; time.sleep(60)")).speak("x", gone)


def test_what_a_command_has_started_ends_with_it(tmp_path: Path) -> None:
    pipe, gone = tmp_path / "pipe", threading.Event()
    os.mkfifo(pipe)

    def listen() -> str:
        with pipe.open() as sound:
            begun = sound.readline()
            gone.set()
            return begun + sound.read()  # to its end: until nobody holds the other side open any more

    voice = CommandVoice(("sh", "-c", f"(echo begun; exec sleep 60) > {pipe} | cat"))
    with ThreadPoolExecutor(1) as pool:
        text = pool.submit(listen)
        with pytest.raises(VoiceError, match="nobody listens"):
            voice.speak("x", gone)
        assert text.result(timeout=30) == "begun\n"


@pytest.mark.parametrize("path", ["/drip", "/headers"])
def test_an_address_is_left_when_nobody_listens(speech: str, path: str) -> None:
    gone = threading.Event()
    threading.Timer(0.2, gone.set).start()
    with pytest.raises(VoiceError, match=f"{path}: nobody listens"):
        EndpointVoice(speech + path).speak("hello", gone)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/speech", "http://[/", "http://a b/"])
def test_an_address_that_answers_nothing_is_one_line(url: str) -> None:
    with pytest.raises(VoiceError) as error:
        EndpointVoice(url).speak("hello", HERE)
    assert str(error.value).startswith(f"{url}: ")
    assert "\n" not in str(error.value)


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(VoiceError, match="No such file"):
        CommandVoice(("/nowhere/voice",)).speak("x", HERE)
    for given in ("/nowhere/voice --x", "", "'unclosed"):
        with pytest.raises(ConfigError, match=r"^--voice: .*; give auto, none, an http address, or a command"):
            choose_voice(given)
    assert choose_voice("none") is None
    assert isinstance(choose_voice("http://127.0.0.1:1/v1/audio/speech"), EndpointVoice)
    assert choose_voice(f"{sys.executable} -c 'a b'") == CommandVoice([sys.executable, "-c", "a b"])


def test_sizes_that_a_pipe_did_not_know_are_set_right() -> None:
    whole = wav()
    endless = whole[:4] + b"\xff\xff\xff\x7f" + whole[8:40] + b"\xff\xff\xff\x7f" + whole[44:]
    assert whole_wav(endless, "voice") == whole
    assert clean("a\x07\n b\t") == "a b\n"


class SpeechHandler(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, dict[str, object]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.headers.get("Authorization", ""), body))
        if self.path == "/headers":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
            self.drip()
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/speech")
        else:
            self.send_response(500 if self.path == "/broken" else 200)
        if self.path == "/cut":
            self.send_header("Transfer-Encoding", "chunked")
        elif self.path == "/short":
            self.send_header("Content-Length", "9999")
        self.end_headers()
        if self.path == "/cut":
            self.wfile.write(b"ff\r\nRIFF")
        elif self.path == "/drip":
            self.drip()
        else:
            self.wfile.write(wav())

    def drip(self) -> None:
        with suppress(OSError):  # until the client has had enough
            while True:
                self.wfile.write(b"R")
                time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def speech() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), SpeechHandler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_an_address_speaks(speech: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(voices.VOICE_TOKEN, "mine")
    assert EndpointVoice(f"{speech}/speech").speak("hello", HERE) == wav()
    token, body = SpeechHandler.asked[-1]
    assert (token, body["input"], body["response_format"]) == ("Bearer mine", "hello\n", "wav")
    refusals = {
        "/moved": "HTTP 302 Found",
        "/broken": "HTTP 500 Internal Server Error",
        "/cut": "incomplete chunked read",
        "/short": "received 204 bytes, expected 9999",
        "/drip": "not all of the sound within 0.5 s",
        "/headers": "not all of the sound within 0.5 s",
    }
    for path, reason in refusals.items():
        if path == "/drip":
            monkeypatch.setattr(voices, "MOST_S", 0.5)
        with pytest.raises(VoiceError, match=f"{path}: .*{reason}"):
            EndpointVoice(speech + path).speak("hello", HERE)


class QuickVoice:
    name = "quick"

    def __init__(self) -> None:
        self.spoken = [threading.Event() for _ in range(AHEAD + 2)]

    def speak(self, text: str, gone: threading.Event) -> bytes:
        self.spoken[int(text)].set()
        return b""


def test_a_voice_runs_only_a_little_ahead_of_its_client() -> None:
    events, voice = queue.SimpleQueue[object](), QuickVoice()
    speaker = Speaker(voice, events.put)
    for number in range(len(voice.spoken)):
        speaker.say(str(number))
    for number in range(AHEAD):
        assert events.get(timeout=60) == Sound(b"", str(number))
    assert not voice.spoken[AHEAD].wait(0.5)
    speaker.make_room()
    assert events.get(timeout=60) == Sound(b"", str(AHEAD))
    speaker.stop()  # while it waits for room
    assert events.get(timeout=60) == Silence()
    assert not voice.spoken[AHEAD + 1].is_set()


class BrokenVoice:
    name = "broken"

    def speak(self, text: str, gone: threading.Event) -> bytes:
        raise RuntimeError(f"no {text} today")


def test_whatever_a_voice_raises_is_told_to_its_client() -> None:
    events = queue.SimpleQueue[object]()
    Speaker(BrokenVoice(), events.put).say("hello")
    assert events.get(timeout=60) == Silence("RuntimeError: no hello today")
