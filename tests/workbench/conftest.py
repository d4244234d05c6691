from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rl import cli

OWN = '''
"""Says whether the answer is the gold, and does what else it is told."""
import time
from rewards.verifiers import Case
from rl.types import Verdict

GOLD = [Case("yes", "yes"), Case("no", "yes", equal=False)]

def verify(prompt, rollout, *, scale=1.0):
    said = rollout.response
    if said == "hang":
        time.sleep(60)
    if said == "raise":
        raise RuntimeError("no luck")
    return Verdict(score=scale * (said in (prompt.answer, "open sesame")), reason=f"heard {said}")

def options(prompt, rollout):
    return Verdict(score=float(prompt.fields["options"][0] == rollout.response and prompt.question == "which?"))

def generous(prompt, rollout):
    return Verdict(score=float((prompt.answer or "") in rollout.text))
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a designer's `own.py`."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def rl(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """(exit code, stdout, stderr) of a command."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli._exit_code(list(arguments), debug=False)
        out, err = capsys.readouterr()
        return code, out, err

    return call
