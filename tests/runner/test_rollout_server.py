"""Sessions that end without a run: what their clients say of them, and the files that hold them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from samples import scored_sample

from rl.config import ConfigError
from rl.recipe import load
from rl.run.lock import RunLock
from rl.runner.rollout_server import Serving, bind, limits_of, serve_rollouts
from rl.runner.session_ends import NO_REWARD, SessionFiles, read_end
from rl.types import Verdict
from rollouts.environments.config import EnvironmentConfig
from rollouts.harness.http import choose_token
from rollouts.harness.settings import AskError


@pytest.mark.parametrize(
    ("values", "verdict", "error"),
    [
        ({}, None, None),
        ({"reward": 1}, Verdict(1.0, {"accuracy": 1.0}), None),
        ({"reward": 0.5, "parts": {"style": 1}}, Verdict(0.5, {"style": 1.0, "accuracy": 0.5}), None),
        ({"error": "it broke"}, None, "harness: it broke"),
        ({"reward": 1.0, "error": "it broke"}, None, "harness: it broke"),
    ],
)
def test_the_end_of_a_session(values: dict[str, Any], verdict: Verdict | None, error: str | None) -> None:
    assert read_end(values) == (verdict, error)


@pytest.mark.parametrize(
    "values",
    [
        {"reward": "1"},
        {"reward": True},
        {"reward": float("nan")},
        {"reward": float("-inf")},
        {"reward": 10**400},
        {"reward": 1.0, "parts": {"a": -(10**400)}},
        {"reward": 1.0, "parts": [1]},
        {"reward": 1.0, "parts": {"a": "b"}},
        {"reward": 1.0, "reason": 3},
        {"error": {}},
        {"score": 1.0},
    ],
)
def test_a_wrong_end_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(AskError):
        read_end(values)


def test_each_session_has_a_file_numbered_on(tmp_path: Path) -> None:
    sample = scored_sample().rollout
    files = SessionFiles(tmp_path)
    first = files.write(sample)
    second = SessionFiles(tmp_path).write(sample)
    assert [first.name, second.name] == ["sessions-000001.parquet", "sessions-000002.parquet"]
    (row,) = pyarrow.parquet.read_table(first).to_pylist()
    assert (row["error"], row["score"], row["id"]) == (NO_REWARD, None, sample.prompt.id)


@pytest.mark.parametrize("given", ["", "  ", "\n"])
def test_without_a_token_one_is_drawn(given: str) -> None:
    (first, is_drawn), (second, _) = choose_token(given, "TOKEN"), choose_token(given, "TOKEN")
    assert is_drawn
    assert len(first) > 20
    assert first != second


def test_a_token_is_taken_without_blanks_at_its_edges_and_refused_with_others() -> None:
    assert choose_token(" secret\n", "TOKEN") == ("secret", False)
    for wrong in ("two words", "sécret", "a\tb"):
        with pytest.raises(ConfigError, match="TOKEN: a token has"):
            choose_token(wrong, "TOKEN")


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7", "::1", f"{'x' * 70}.y"])
def test_a_host_that_cannot_be_listened_at_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^--host: "):
        bind(host, 0)


def test_a_port_that_is_taken_is_named() -> None:
    first = bind("127.0.0.1", 0)
    try:
        with pytest.raises(ConfigError, match=r"^--port: 127\.0\.0\.1:.* in use"):
            bind("127.0.0.1", first.server_address[1])
    finally:
        first.server_close()


VALUES: dict[str, Any] = {
    "name": "x",
    "model": {"build": {}},
    "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 50}}},
    "reward": {"parts": [{"verifier": "text"}]},
    "stages": [{"evaluate": {"data": "words", "max_sequence_tokens": 128}}],
}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", Path("/proc/sessions"), tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError) as caught:
            serve_rollouts(load(VALUES, [], tmp_path), out, Serving("127.0.0.1", 0, "t", 8, 60.0), pytest.fail)
        assert re.fullmatch(
            rf"--out: {out} cannot be a run's directory \([A-Z][a-z ]+\); name another", str(caught.value)
        )


def test_two_servers_do_not_write_into_one_folder(tmp_path: Path) -> None:
    other = RunLock(tmp_path)  # flock is held by the open file, also against this process
    other.acquire()
    said: list[str] = []
    try:
        with pytest.raises(ConfigError, match="at work here already"):
            serve_rollouts(load(VALUES, [], tmp_path), tmp_path, Serving("127.0.0.1", 0, "t", 8, 60.0), said.append)
    finally:
        other.release()
    assert said == [], "nothing has started"


def test_limits_of_the_recipe_hold_unless_the_command_says_otherwise() -> None:
    environment = EnvironmentConfig(harness="a.py:play", max_turns=5, max_turn_tokens=30)
    assert limits_of(environment, None) == (5, 30)
    assert limits_of(environment, 9) == (9, 30)
    assert limits_of(None, None) == (64, None)
