"""`rl serve` and `rl talk` on a wrong command line: one line, before anything heavy starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rl.config import ConfigError
from rl.realtime.serving import read_pace, token_for
from rl.realtime.voice import SERVER_TOKEN
from rl.stages.paced_answer import Pace

ROOT = Path(__file__).parents[2]


def test_a_port_that_is_taken_is_told_before_the_model_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "rl", "serve", "nowhere", "--port", str(taken.getsockname()[1])]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: --port: 127.0.0.1:" in done.stderr


def test_a_token_is_drawn_for_any_address_but_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_TOKEN, raising=False)
    said: list[str] = []
    assert token_for("127.0.0.1", said.append) == token_for("localhost", said.append) == ""
    assert said == []
    token = token_for("0.0.0.0", said.append)
    assert said == [f"token (the client's api_key): {token}"]
    monkeypatch.setenv(SERVER_TOKEN, "mine")
    assert token_for("0.0.0.0", said.append) == token_for("127.0.0.1", said.append) == "mine"
    assert len(said) == 1


def test_a_pace_of_the_options() -> None:
    assert read_pace("tbs", 8, 4) == Pace("tbs", 8, 4)
    with pytest.raises(ConfigError, match="no mode ''"):
        read_pace("", 8, 4)
