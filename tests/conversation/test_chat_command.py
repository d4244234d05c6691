"""`rl chat` with lines piped in: a real engine in the command's own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def chat(model: object, lines: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rl", "chat", str(model), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, input=lines, env=environment, capture_output=True, text=True, timeout=300)


def test_lines_are_answered_and_the_chat_ends_with_its_input(tied: Path) -> None:
    done = chat(tied, "hello\n/sound x.wav\n/reset\nhello\n/nonsense\n", "--max-tokens", "8", "--no-think")
    assert done.returncode == 0, done.stderr
    complaints = done.stderr.splitlines()
    assert complaints[0] == f"loading {tied}"
    assert "error: /sound: the model reads text only" in complaints
    assert "begun anew" in complaints
    assert complaints[-1].startswith("error: no command /nonsense")
    assert "nanobind" not in done.stderr
    half = len(done.stdout) // 2
    assert done.stdout[:half] == done.stdout[half:]  # anew, the same question gets the same answer


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    done = chat(tmp_path, "hello\n")
    assert (done.returncode, done.stderr.count("\n")) == (2, 2)
    assert f"error: {tmp_path}: holds no model (no config.json); name a model's folder or a finished run" in done.stderr
