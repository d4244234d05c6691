"""The order in which the files of the suite are run side by side."""

from __future__ import annotations

import pytest

LONG = (
    *("test_failures.py", "test_learns.py", "test_killed_runs.py", "test_lag_runs.py", "test_runs.py", "test_mini.py"),
    *("test_adapter_worker.py", "test_arrival.py", "test_arrival_in_runs.py", "test_hears.py", "test_many_nodes.py"),
    *("test_preferences.py", "test_submit.py", "test_serve.py", "test_cli.py", "test_mutants.py", "test_plain_ppo.py"),
)
"""Files that take more than a minute, the longest first. Some start their engines themselves, without `ray_session`."""


def longest_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests by file: the longest, then those that start engines, then the quick ones, which fill every core until the end."""
    engines = {item.path for item in items if "ray_session" in getattr(item, "fixturenames", ())}
    rank = {path: len(LONG) + (path not in engines) for path in {item.path for item in items}}
    rank |= {path: LONG.index(path.name) for path in rank if path.name in LONG}
    return sorted(items, key=lambda item: rank[item.path])
