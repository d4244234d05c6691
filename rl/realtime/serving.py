"""Builds and runs the server of `rl serve` and `rl talk`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rl import signals
from rl.config import ConfigError, did_you_mean
from rl.realtime.engine import Bounds, PacedEngine
from rl.realtime.questions import QuestionReader
from rl.realtime.server import LOOPBACK_HOSTS, RealtimeServer, Service
from rl.realtime.voice import SERVER_TOKEN, Voice, choose_voice
from rl.stages.paced_answer import MODES, Mode, Pace
from rollouts.harness.http import choose_token, listen

CONVERSATIONS = 8
"""Conversations of the full length that a CPU's cache has room for: most are far shorter."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port at which the server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of answers, and how many are written at a time."""

    temperature: float | None
    """Temperature of questions that name none; None: the model's own."""
    max_tokens: int | None
    """Tokens of the longest conversation; None: as many as the model takes."""
    bounds: Bounds
    speech_rate: float
    """Tokens of text that are spoken in a second."""


def read_pace(mode: str, think: int, speak: int) -> Pace:
    """Return the pace of the options. Raises ConfigError for a mode that does not exist."""
    modes: dict[str, Mode] = {"wo": "wo", "tbs": "tbs", "think_first": "think_first", "speak_first": "speak_first"}
    if mode not in modes:
        raise ConfigError(f"--pace: no mode '{mode}'{did_you_mean(mode, MODES)}")
    return Pace(modes[mode], think, speak)


def token_for(host: str, say: Callable[[str], None]) -> str:
    """Return the token of clients: none on the loopback address unless one is set, else the one that is set or drawn."""
    chosen_token = os.environ.get(SERVER_TOKEN, "")
    if host in LOOPBACK_HOSTS and not chosen_token.strip():
        return ""
    token, is_drawn = choose_token(chosen_token, SERVER_TOKEN)
    if is_drawn:
        say(f"token (the client's api_key): {token}")
    return token


def run_server(
    model: str, pace: Pace, limits: Limits, voice: str, address: Address, say: Callable[[str], None], has_page: bool
) -> None:
    """Serve a model until the command is interrupted. Raises ConfigError for a voice, an address or a model that is not there,
    before anything heavy starts."""
    spoken = choose_voice(voice)
    token = "" if has_page else token_for(address.host, say)
    # The port is taken before the model is loaded: one that is not free is said at once.
    server = listen(RealtimeServer, address.host, address.port)
    say(f"loading {model}")
    with signals.interruptible("the server has ended"):
        server.service = open_service(model, pace, limits, spoken, token, say, has_page)
        threading.Thread(target=server.serve_forever, args=(0.05,), name="realtime server", daemon=True).start()
        if spoken is None:
            say("answers are text only: no voice; install espeak-ng, or name one with --voice")
        else:
            say(f"voice: {spoken.name}")
        say(f"open {server.address}/" if has_page else f"serving {server.address}/v1 ({pace.mode}); Ctrl-C ends")
        while True:
            # All work is in other threads; a signal, or `signals.fail`, ends this one.
            time.sleep(3600)


def open_service(
    model: str,
    pace: Pace,
    limits: Limits,
    voice: Voice | None,
    token: str,
    say: Callable[[str], None],
    has_page: bool = False,
) -> Service:
    """Return what answers for a model, once its engine has started. Raises ConfigError for a model that is not there."""
    from rl.conversation.engine import LocalEngine
    from rl.data.chat_template import template_thinks

    # A pace is one of a chain, also for a model whose template opens none.
    local = LocalEngine(model, True, CONVERSATIONS)
    if not template_thinks(local.chat.tokenizer) and pace.mode != "wo":
        say("warning: the model's chat template opens no chain; each answer is opened by <think> all the same")
    engine = PacedEngine(local.worker, local.chat, pace, limits.bounds, limits.speech_rate, signals.fail)
    most_tokens = min(local.most_tokens, limits.max_tokens or local.most_tokens)
    temperature = local.temperature if limits.temperature is None else limits.temperature
    reader = QuestionReader(local.chat, most_tokens, temperature, voice is not None)
    return Service(engine, reader, token, voice, has_page)
