"""The product names no place of one machine."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("rl", "models", "rewards", "rollouts", "recipes", "scripts", "tests", "docs")


def test_data_lie_where_the_user_says() -> None:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*") if file.suffix != ".pyc" and file.is_file()]
    assert len(files) > 300
    # Where this checkout lies is a place of this machine alone, and so is a folder beside it.
    places = [b"../shared", str(ROOT).encode() + b"/"]
    texts = {file: file.read_bytes() for file in files if file != Path(__file__)}
    assert [str(file) for file, text in texts.items() if any(place in text for place in places)] == []


def test_the_readme_names_no_index() -> None:
    assert not re.search(r"(pytorch|pypi|pythonhosted)\.org", (ROOT / "README.md").read_text())
