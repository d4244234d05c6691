"""`rl chat` with lines piped in: a real engine in the command's own process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.folder import GENERATION_CONFIG
from rl.config import ConfigError
from rl.conversation.environment import choose_environment, describe_environment

ROOT = Path(__file__).parents[2]


def chat(model: object, lines: str, *flags: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rl", "chat", str(model), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, input=lines, env=environment, capture_output=True, text=True, timeout=300)


# The most probable token alone is what is greedy, at any temperature.
@pytest.mark.parametrize(
    ("generation", "temperature"), [('{"temperature": 0.01}', "0.01"), ('{"temperature": 2.0, "top_k": 1}', "0")]
)
def test_lines_are_answered_and_the_chat_ends_with_its_input(
    tied: Path, tmp_path: Path, generation: str, temperature: str
) -> None:
    model = Path(shutil.copytree(tied, tmp_path / "model"))
    (model / GENERATION_CONFIG).write_text(generation)
    lines = f"hello\n/sound x.wav\n/reset\n/temperature {temperature}\nhello\n/nonsense\n"
    done = chat(model, lines, "--max-tokens", "8", "--no-think")
    assert done.returncode == 0, done.stderr
    complaints = done.stderr.splitlines()
    assert complaints[0] == f"loading {model}"
    assert "error: /sound: the model reads text only" in complaints
    assert "begun anew" in complaints
    assert complaints[-1].startswith("error: no command /nonsense")
    assert "nanobind" not in done.stderr
    half = len(done.stdout) // 2
    assert done.stdout[:half] == done.stdout[half:]  # anew and sampled as the model's own file says, the same answer


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    done = chat(tmp_path, "hello\n")
    assert (done.returncode, done.stderr.count("\n")) == (2, 2)
    assert f"error: {tmp_path}: holds no model (no config.json); name a model's folder or a finished run" in done.stderr


GAME = """
from rl.types import Message, Reply

def step(prompt, rollout):
    assert prompt.question == "hello"
    turn = len(rollout.exchanges)
    return Reply(last=True) if turn == 2 else Reply((Message("user", f"MARK {turn}"),))
"""
RECIPE = """
name: played
model: {path: gone}
data: {rows: {source: jsonl, path: rows.jsonl}}
reward: {parts: [{verifier: text}]}
environment: {step: game.py:step, stop: [a, e, i, o, u, " "]}
stages: [{rlvr: {data: rows}}]
"""


@pytest.fixture
def played(tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose model was answered by a game, which lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "game.py").write_text(GAME)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(tied)
    (tmp_path / "run" / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "run"


def test_an_environment_answers_what_the_model_writes(played: Path) -> None:
    """Random weights write any letter: they pause at a vowel."""
    done = chat(played, "hello\n", "--max-tokens", "400", "--no-think")
    assert done.returncode == 0, done.stderr
    assert "game.py:step answers what the model asks" in done.stderr.splitlines()
    assert done.stdout.count("[user] MARK") == 2


def test_which_environment_answers(played: Path) -> None:
    said: list[str] = []
    config = choose_environment(str(played), None, said.append)
    assert config is not None
    assert config.step == "game.py:step"
    assert choose_environment(str(played), "none", said.append) is None
    named = choose_environment(str(played / "model"), "calculator", said.append)
    assert named is not None
    assert describe_environment(named) == "calculator"
    assert said == []
    with pytest.raises(ConfigError, match=r"^--environment\.tools\[0\]: unknown tool 'calculater'; did you mean"):
        choose_environment(str(played), "calculater", said.append)
    (played.parent / "game.py").unlink()
    assert choose_environment(str(played), None, said.append) is None
    assert said[0].startswith("warning: nobody answers the model's calls: environment.step: ")
