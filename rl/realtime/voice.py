"""Voices: what makes sound of a phrase. A command with the text on stdin and WAV on stdout, or an address."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Protocol

from rl.config import ConfigError

DEFAULT = ("espeak-ng", "--stdin", "--stdout")
"""The command that is taken where it is installed and no other is named."""
SERVER_TOKEN, VOICE_TOKEN = "GROUNDTONE_SERVE_TOKEN", "GROUNDTONE_VOICE_TOKEN"
"""Variables that hold the token of our own clients, which no voice is given, and that of a voice behind an address."""
MOST_S = 30.0
"""Seconds that a phrase may take."""
MOST_BYTES = 32 << 20
"""Size of the sound of a phrase."""
LOOK_S = 0.01


class VoiceError(ValueError):
    """A phrase that was not spoken, with the reason in one line."""


class Voice(Protocol):
    """A maker of sound from text."""

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    def speak(self, text: str, gone: threading.Event) -> bytes:
        """Return a phrase as WAV. Raises VoiceError, also once nobody listens any more (`gone`)."""
        ...


@dataclass(frozen=True, slots=True)
class CommandVoice:
    """A command, started anew for each phrase and without a shell: the text cannot become one."""

    command: Sequence[str]

    @property
    def name(self) -> str:
        return self.command[0]

    def speak(self, text: str, gone: threading.Event) -> bytes:
        environment = {key: value for key, value in os.environ.items() if key not in (SERVER_TOKEN, VOICE_TOKEN)}
        # Files, not pipes: a command that writes before it has read blocks nobody, and one that writes on for ever is seen.
        with tempfile.TemporaryFile() as heard, tempfile.TemporaryFile() as said:
            said.write(clean(text).encode())
            said.seek(0)
            try:
                process = subprocess.Popen(
                    list(self.command), stdin=said, stdout=heard, stderr=subprocess.DEVNULL, env=environment
                )
            except OSError as error:
                raise VoiceError(f"{self.name}: {error.strerror}") from error
            try:
                self._wait(process, heard.fileno(), gone)
            finally:
                process.kill()
                process.wait()
            heard.seek(0)
            return whole_wav(heard.read(), self.name)

    def _wait(self, process: subprocess.Popen[bytes], output: int, gone: threading.Event) -> None:
        """Wait until the command has ended. Raises VoiceError where it takes or writes too much, or fails."""
        deadline = time.monotonic() + MOST_S
        while process.poll() is None:
            if gone.wait(LOOK_S):
                raise VoiceError("nobody listens")
            if time.monotonic() > deadline:
                raise VoiceError(f"{self.name}: no sound within {MOST_S:g} s")
            if os.fstat(output).st_size > MOST_BYTES:
                raise VoiceError(f"{self.name}: more than {MOST_BYTES >> 20} MB of sound for a phrase")
        if process.returncode:
            raise VoiceError(f"{self.name}: ended with code {process.returncode}")


@dataclass(frozen=True, slots=True)
class EndpointVoice:
    """An address in the form of OpenAI's `/v1/audio/speech`."""

    url: str

    @property
    def name(self) -> str:
        return self.url

    def speak(self, text: str, gone: threading.Event) -> bytes:
        body = {"model": "tts-1", "voice": "alloy", "input": clean(text), "response_format": "wav"}
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get(VOICE_TOKEN, "").strip():
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        if gone.is_set():
            raise VoiceError("nobody listens")
        deadline = time.monotonic() + MOST_S
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=MOST_S) as response:
                data = self._read(response, deadline, gone)
        except (OSError, ValueError, HTTPException) as error:
            raise VoiceError(f"{self.url}: {error}"[:200]) from error
        return whole_wav(data, self.url)

    def _read(self, response: HTTPResponse, deadline: float, gone: threading.Event) -> bytes:
        """Read the whole answer, piece by piece: the connection's timeout is one for each of them. Raises ValueError for
        one that is too late or too long."""
        data = bytearray()
        while piece := response.read1(1 << 16):
            data += piece
            if gone.is_set():
                raise ValueError("nobody listens")
            if time.monotonic() > deadline:
                raise ValueError(f"not all of the sound within {MOST_S:g} s")
            if len(data) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES >> 20} MB of sound for a phrase")
        if response.length:  # bytes that were announced and have not come
            raise ValueError("the sound breaks off")
        return bytes(data)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str) -> None:
        """Follow no redirect: the token is for the address that was named."""


def choose_voice(given: str) -> Voice | None:
    """Return the voice of `--voice`: `auto` takes espeak-ng where it is installed, `none` takes none. Raises ConfigError."""
    if given == "none":
        return None
    if given == "auto":
        return CommandVoice(DEFAULT) if shutil.which(DEFAULT[0]) else None
    if given.startswith(("http://", "https://")):
        return EndpointVoice(given)
    try:
        command = shlex.split(given)
    except ValueError as error:
        raise ConfigError(f"--voice: {error}; give auto, none, an http address, or a command") from error
    if not command or not shutil.which(command[0]):
        name = command[0] if command else given
        raise ConfigError(f"--voice: no command '{name}' is installed; give auto, none, an http address, or a command")
    return CommandVoice(command)


def clean(text: str) -> str:
    """Return a text in one line and without control characters, which some voices take for commands."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else " " for c in text).split()) + "\n"


def whole_wav(data: bytes, name: str) -> bytes:
    """Return WAV with the sizes that it has: what writes to a pipe cannot know them before. Raises VoiceError for anything else."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise VoiceError(f"{name}: gave no WAV")
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        if kind == b"data":
            size = min(size, len(data) - place - 8)
            head = b"RIFF" + struct.pack("<I", place + size) + data[8:place] + struct.pack("<4sI", kind, size)
            return head + data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    raise VoiceError(f"{name}: gave WAV without sound")
