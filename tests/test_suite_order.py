"""The order of the suite names files that there are, and begins with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from suite_order import LONG, longest_first


def test_the_longest_files_are_there() -> None:
    assert {*LONG} <= {file.name for file in Path(__file__).parent.rglob("test_*.py")}


def test_the_longest_come_first_then_engines_and_files_stay_whole() -> None:
    tests = [("test_quick.py", 1), ("test_engine.py", 1), (LONG[1], 1), (LONG[0], 1), ("test_engine.py", 2)]
    tests += [("test_quick.py", 2), (LONG[1], 2)]
    fixtures = {("test_engine.py", 2): ["ray_session"], (LONG[1], 1): ["ray_session"]}
    items: list[Any] = [
        SimpleNamespace(path=Path("tests", name), number=number, fixturenames=fixtures.get((name, number), []))
        for name, number in tests
    ]
    assert [(item.path.name, item.number) for item in longest_first(items)] == [
        *((LONG[0], 1), (LONG[1], 1), (LONG[1], 2)),
        *(("test_engine.py", 1), ("test_engine.py", 2), ("test_quick.py", 1), ("test_quick.py", 2)),
    ]
