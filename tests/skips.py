"""Report of skipped tests: the last line of a test run counts those that need data, and where GROUNDTONE_ALL_TESTS is set
every skip that is not due to the machine fails the run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

NO_MODEL = "no pretrained model"
"""Beginning of the reason of a skip for lack of one."""
MACHINE = ("GPU", "no right to mount", "reads /proc", "no large pages", "pip before")
"""Parts of the reasons of skips that are due to the machine: its hardware, its kernel's permissions, its system and pip."""


def read_reasons(reports: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield (file, reason) of each skipped test."""
    for report in reports:
        file, _, reason = report.longrepr
        yield report.nodeid.partition("::")[0] or file, reason.removeprefix("Skipped: ")


def summarise(skips: list[tuple[str, str]], strict: bool) -> list[str]:
    """Return a line about the tests that need data, one about those that need a pretrained model and, if `strict`, one about
    those that the machine could have run."""
    lines = list[str]()
    if files := Counter(file for file, reason in skips if "GROUNDTONE_DATA" in reason):
        where = ", ".join(f"{file} ({count})" for file, count in files.items())
        tests = "1 test" if files.total() == 1 else f"{files.total()} tests"
        lines.append(f"skipped for lack of data (set GROUNDTONE_DATA to its folder): {tests}: {where}")
    if pretrained := [(file, reason) for file, reason in skips if reason.startswith(NO_MODEL)]:
        where = ", ".join(dict.fromkeys(file for file, _ in pretrained))
        lines.append(f"skipped for lack of a pretrained model (scripts/pretrained): {where}: {pretrained[0][1]}")
    if strict and (avoidable := select_avoidable(skips)):
        where = ", ".join(f"{file}: {reason}" for file, reason in dict.fromkeys(avoidable))
        lines.append(f"error: GROUNDTONE_ALL_TESTS is set and {len(avoidable)} were skipped: {where}")
    return lines


def select_avoidable(skips: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the skips that are not due to the machine."""
    return [(file, reason) for file, reason in skips if not any(part in reason for part in MACHINE)]


def list_skips(config: pytest.Config) -> list[tuple[str, str]]:
    """Return (file, reason) of each skipped test that this process reports."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if not reporter or hasattr(config, "workerinput"):  # a worker of pytest-xdist: the main process reports its tests
        return []
    return list(read_reasons(reporter.stats.get("skipped", [])))


def is_strict() -> bool:
    """Return whether every test must run that can run on this machine."""
    return bool(os.environ.get("GROUNDTONE_ALL_TESTS"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that passed but for avoidable skips, where no such skip is allowed."""
    if is_strict() and select_avoidable(list_skips(session.config)) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the lines below everything else, even pytest's counts."""
    for line in summarise(list_skips(config), is_strict()):
        print(line)
