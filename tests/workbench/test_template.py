"""`rl verifiers new` and `list`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.resolve import list_verifiers


def test_what_is_written_runs_as_it_is(rl, home: Path):
    code, out, err = rl("verifiers", "new", "contour")
    assert (code, err) == (0, "")
    assert "rl verifiers test contour.py:verify --cases contour.jsonl" in out
    found = json.loads(rl("verifiers", "test", "contour.py:verify", "--json")[1])
    assert found["n"] == found["agree"] == 6
    found = json.loads(rl("verifiers", "test", "contour.py:verify", "--cases", "contour.jsonl", "--json")[1])
    assert found["n"] == found["agree"] == 2
    assert rl("verifiers", "attack", "contour.py:verify", "--json")[0] == 0
    subprocess.run([sys.executable, "-m", "ruff", "check", "contour.py"], cwd=home, check=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own", "own.py: exists already"),
        ("math", "'math' is a verifier of the library"),
        ("two words", "'two words' is no name for a module"),
        (
            "json",
            "'json' is the name of a module of Python's own, which json.py would stand in for; choose another name",
        ),
        ("random.py", "'random' is the name of a module of Python's own"),
        ("_thread", "'_thread' is the name of a module of Python's own"),
        ("numpy", "'numpy' is the name of an installed module"),
        ("rl", "'rl' is the name of an installed module"),
        ("rewards", "'rewards' is the name of an installed module"),
        ("class", "'class' is a word of Python's own"),
        ("__init__", "'__init__' is no name for a module"),
        ("x" * 300, "is no name for a module; use at most 60 letters"),
    ],
)
def test_nothing_is_overwritten(rl, home: Path, name: str, says: str):
    before = (home / "own.py").read_text()
    code, _, err = rl("verifiers", "new", name)
    assert code == 2
    assert says in err
    assert (home / "own.py").read_text() == before


def test_each_is_listed_with_its_contract(rl):
    _, out, _ = rl("verifiers", "list")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for name, contract in list_verifiers().items():
        assert any(line.startswith(f"{name} {contract[:40]}") for line in lines), name
    assert "file.py:fn" in out
