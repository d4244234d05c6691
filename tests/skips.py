"""What was skipped: the last line of a test run says what wants data, and where GROUNDTONE_ALL_TESTS is set every skip
that is not the machine's fault fails the run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

MACHINE = ("GPU", "no right to mount", "reads /proc")
"""In the reasons of skips that belong to the machine: its hardware, what its kernel allows, its system."""


def reasons(reports: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield (file, reason) of each skipped test."""
    for report in reports:
        file, _, reason = report.longrepr
        yield report.nodeid.partition("::")[0] or file, reason.removeprefix("Skipped: ")


def summary(skipped: list[tuple[str, str]], strict: bool) -> list[str]:
    """Return a line for the tests that want data and, if `strict`, one for those that were skipped without need."""
    lines = list[str]()
    if files := Counter(file for file, reason in skipped if "GROUNDTONE_DATA" in reason):
        where = ", ".join(f"{file} ({count})" for file, count in files.items())
        tests = "1 test" if files.total() == 1 else f"{files.total()} tests"
        lines.append(f"skipped for want of data (set GROUNDTONE_DATA to its folder): {tests}: {where}")
    if strict and (avoidable := needless(skipped)):
        where = ", ".join(f"{file}: {reason}" for file, reason in dict.fromkeys(avoidable))
        lines.append(f"error: GROUNDTONE_ALL_TESTS is set and {len(avoidable)} were skipped: {where}")
    return lines


def needless(skipped: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the skips that no machine is to blame for."""
    return [(file, reason) for file, reason in skipped if not any(part in reason for part in MACHINE)]


def skipped_of(config: pytest.Config) -> list[tuple[str, str]]:
    """Return (file, reason) of what this process reports: none in a worker of pytest-xdist."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    return list(reasons(reporter.stats.get("skipped", []))) if reporter and not hasattr(config, "workerinput") else []


def strict() -> bool:
    return bool(os.environ.get("GROUNDTONE_ALL_TESTS"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if strict() and needless(skipped_of(session.config)) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the lines below everything else, pytest's own counts too."""
    for line in summary(skipped_of(config), strict()):
        print(line)
