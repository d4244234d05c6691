"""Addresses of a dashboard, and commands of `rl submit` that are refused at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl.config import ConfigError
from rl.submit.jobs import dashboard

RECIPE = """
name: tiny
model: {build: {hidden_size: 64, layers: 1, heads: 2}}
data: {words: {source: reasoning_gym, args: {dataset: spell_backward, size: 9}}}
reward: {parts: [{verifier: text}]}
stages: [{evaluate: {data: words}}]
"""


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://head:8265", "http://head:8265"),
        ("https://ray.example.org", "https://ray.example.org"),
        ("http://head:8265/", "http://head:8265"),
        ("https://example.org/ray/", "https://example.org/ray"),
        ("head:8265", "http://head:8265"),
        ("head", "http://head:8265"),
        (" 10.0.0.1:9000 ", "http://10.0.0.1:9000"),
        ("10.0.0.1", "http://10.0.0.1:8265"),
        ("[::1]:8265", "http://[::1]:8265"),
        ("localhost", "http://localhost:8265"),
    ],
)
def test_an_address_is_read_as_it_is_meant(address: str, url: str) -> None:
    assert dashboard(address) == url


@pytest.mark.parametrize(
    "address", ["", "http://", "ftp://head", "head:port", "ray://head:10001", "[::1", "he ad", "//"]
)
def test_what_is_no_address_is_one_line(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^--address .*http://") as caught:
        dashboard(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--address", "127.0.0.1:PORT"], "error: --address http://127.0.0.1:PORT: no Ray dashboard answers there"),
        (["--address", "ray://127.0.0.1:PORT"], "error: --address ray://127.0.0.1:PORT: that is for Ray's client"),
        (
            ["--address", "http://127.0.0.1:PORT", "--resume"],
            "error: --resume: each submission has a directory of its own",
        ),
        (
            ["--address", "http://127.0.0.1:PORT", "--out", "runs/a"],
            "error: --out runs/a: a relative directory would lie",
        ),
    ],
)
def test_a_mistake_is_one_line_at_once(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    with socket.create_server(("127.0.0.1", 0)) as server:  # a port that nobody listens at once it is closed
        port = str(server.getsockname()[1])
    command = [Path(sys.executable).parent / "rl", "submit", "tiny.yaml", *(a.replace("PORT", port) for a in arguments)]
    start = time.monotonic()
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(says.replace("PORT", port)), done.stderr
    assert time.monotonic() - start < 30  # of which Ray's import takes most
