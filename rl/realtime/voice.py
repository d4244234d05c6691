"""Voices: what makes sound of a phrase. A command with the text on stdin and WAV on stdout, or an address."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
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
                # A session of its own, so that what the command starts can be ended with it.
                process = subprocess.Popen(
                    list(self.command),
                    stdin=said,
                    stdout=heard,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise VoiceError(f"{self.name}: {error.strerror}") from error
            try:
                self._wait(process.pid, heard.fileno(), gone)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode:
                raise VoiceError(f"{self.name}: ended with code {process.returncode}")
            heard.seek(0)
            return whole_wav(heard.read(), self.name)

    def _wait(self, process: int, output: int, gone: threading.Event) -> None:
        """Wait until the command has ended. Raises VoiceError where it takes or writes too much."""
        deadline = time.monotonic() + MOST_S
        # WNOWAIT: it keeps its number, which is that of its group, until the group has been killed.
        while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if gone.wait(LOOK_S):
                raise VoiceError("nobody listens")
            if time.monotonic() > deadline:
                raise VoiceError(f"{self.name}: no sound within {MOST_S:g} s")
            if os.fstat(output).st_size > MOST_BYTES:
                raise VoiceError(f"{self.name}: more than {MOST_BYTES >> 20} MB of sound for a phrase")


@dataclass(frozen=True, slots=True)
class EndpointVoice:
    """An address in the form of OpenAI's `/v1/audio/speech`."""

    url: str
    certificates: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False, compare=False)
    """The system's: httpx by itself would trust a list of its own."""

    @property
    def name(self) -> str:
        return self.url

    def speak(self, text: str, gone: threading.Event) -> bytes:
        from httpx import HTTPError, InvalidURL

        try:
            return whole_wav(asyncio.run(self._ask(clean(text), gone)), self.url)
        except (OSError, ValueError, HTTPError, InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise VoiceError(reason if isinstance(error, VoiceError) else f"{self.url}: {reason}"[:200]) from error

    async def _ask(self, text: str, gone: threading.Event) -> bytes:
        """Return the answer. Raises ValueError for one that is too late, or that nobody waits for any more: a task can be
        cancelled wherever it waits, for a name, a connection, headers or sound."""
        answer, deadline = asyncio.create_task(self._read(text)), time.monotonic() + MOST_S
        try:
            while not answer.done():
                if gone.is_set():
                    raise ValueError("nobody listens")
                if time.monotonic() > deadline:
                    raise ValueError(f"not all of the sound within {MOST_S:g} s")
                await asyncio.wait([answer], timeout=LOOK_S)
            return answer.result()
        finally:
            answer.cancel()

    async def _read(self, text: str) -> bytes:
        """Read the whole answer, piece by piece. Raises ValueError for a refusal, and for one that is too long."""
        from httpx import AsyncClient

        body = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "wav"}
        headers = {"Accept-Encoding": "identity"}
        if token := os.environ.get(VOICE_TOKEN, "").strip():
            headers["Authorization"] = f"Bearer {token}"
        data = bytearray()
        # Redirects are not followed: the token is for the address that was named.
        async with (
            AsyncClient(timeout=MOST_S, follow_redirects=False, verify=self.certificates) as client,
            client.stream("POST", self.url, json=body, headers=headers) as response,
        ):
            if not response.is_success:
                raise ValueError(f"HTTP {response.status_code} {response.reason_phrase}")
            async for piece in response.aiter_raw():
                data += piece
                if len(data) > MOST_BYTES:
                    raise ValueError(f"more than {MOST_BYTES >> 20} MB of sound for a phrase")
        return bytes(data)


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
