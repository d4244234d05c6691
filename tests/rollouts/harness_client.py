"""A client of a harness's endpoint on the standard library, and a policy of letters that needs no engine."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from rl.types import AUDIO_PATCH, Clip, Message, Rollout
from rollouts.harness.server import Endpoint
from rollouts.harness.sessions import Sessions
from rollouts.requests import Completion, Request

TOKEN = "secret"
END, AUDIO = 0, 1


class LetterChat:
    """A chat format in which every letter is a token: `u:hello|a:` asks, and the id 0 ends a turn."""

    think = False
    audio_token: int | None = AUDIO

    def prompt(
        self,
        messages: Sequence[Message],
        clips: Sequence[Clip] = (),
        expand: bool = False,
        tools: Sequence[Mapping[str, object]] = (),
    ) -> list[int]:
        said = "".join(f"{m.role[0]}:{m.content}|" for m in messages)
        shown = json.dumps([*tools]) if tools else ""
        return self._ids(f"{shown}{said}a:", len(clips) if expand else 0)

    def reply(
        self, messages: Sequence[Message], last_id: int, clips: Sequence[Clip] = (), expand: bool = False
    ) -> list[int]:
        if any(m.role == "system" for m in messages):
            raise ValueError("no system turn behind an assistant's")
        ending = "" if last_id == END else "|"
        said = "".join(f"{m.role[0]}:{m.content}|" for m in messages)
        return self._ids(f"{ending}{said}a:", len(clips) if expand else 0)

    def _ids(self, text: str, expanded: int) -> list[int]:
        pieces = text.split(AUDIO_PATCH)
        ids = [ord(letter) for letter in pieces[0]]
        for piece in pieces[1:]:
            ids += [AUDIO] * (3 if expanded else 1) + [ord(letter) for letter in piece]
        return ids

    def written(self, ids: Sequence[int]) -> str:
        return "".join(chr(id) for id in ids if id > AUDIO)

    def turn(self, ids: Sequence[int]) -> str:
        return self.written(ids)

    @cached_property
    def ends(self) -> list[int]:
        return [END]

    @cached_property
    def closing(self) -> list[int]:
        return []

    def chain_length(self, ids: Sequence[int]) -> int:
        return 0

    def drops_chain(self, role: str) -> bool:
        return role == "user"


def write(request: Request, version: int = 3) -> Completion:
    """Return what the policy of letters answers: the number of its tokens so far, in digits, cut at `max_tokens`."""
    prompt = np.array([id for id in request.tokens for _ in range(3 if id == AUDIO else 1)], dtype=np.int64)
    ids = [*map(ord, f"n{len(prompt)}"), END][: request.max_tokens]
    logprobs = np.full(len(ids), -0.5, dtype=np.float32)
    reason = "stop" if ids[-1] == END else "length"
    return Completion(request.key, np.array([*prompt, *ids]), len(prompt), logprobs, reason, ((version, len(ids)),))


@contextmanager
def dealing(sessions: Sessions, take: Callable[[Request], Completion] = write) -> Generator[list[Rollout]]:
    """Answer questions in a thread, as a run's dispatcher does; yields the list of finished rollouts."""
    finished: list[Rollout] = []
    over = threading.Event()

    def deal() -> None:
        while not over.is_set():
            requests, done = sessions.advance(0.02)
            gone = sessions.take_abandoned()
            finished.extend(done.values())
            for request in requests:
                if request.key not in gone:
                    sessions.add(take(request))

    thread = threading.Thread(target=deal, daemon=True)
    thread.start()
    try:
        yield finished
    finally:
        over.set()
        thread.join()


def call(
    url: str, body: object = None, token: str | None = TOKEN, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Return (status, JSON) of a POST, or of a GET without a body."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    if token is not None:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ask(endpoint: Endpoint, session: str, messages: list[Any], **settings: Any) -> tuple[int, dict[str, Any]]:
    """Return (status, JSON) of a question of a session."""
    return call(f"{endpoint.base_url(session)}/chat/completions", {"messages": messages, **settings})


def user(text: str) -> dict[str, str]:
    """Return a message of the user's."""
    return {"role": "user", "content": text}
