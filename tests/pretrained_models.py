"""Pretrained models for tests: those that `scripts/pretrained` has written, else written now, once."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from skips import NO_MODEL

from models.pretrained.catalogue import find_pretrained, pretrained_root


@cache
def _write(name: str) -> str:
    """Write the model and return "", or why that did not go."""
    pretrained_root().mkdir(parents=True, exist_ok=True)
    with (pretrained_root() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes that run side by side write it once
        command = [sys.executable, "-m", "rl", "pretrained", name]
        written = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return written.stderr.strip().rpartition("\n")[2] if written.returncode else ""


def pretrained_model(name: str) -> Path:
    """Return the folder of a pretrained model, or skip the calling test where it is not here and cannot be downloaded. What goes
    wrong with a file that was downloaded fails the test."""
    problem = "" if find_pretrained(name) else _write(name)
    if names_a_failed_download(problem):
        pytest.skip(f"{NO_MODEL}: {problem}")
    folder = find_pretrained(name)
    assert folder is not None, problem
    return folder


def names_a_failed_download(problem: str) -> bool:
    """Return True for what `models.pretrained.download.explain` says of a file that did not come."""
    reasons = ("no package index", "pip could not download it", "the connection broke", r"\S+ has no pip")
    return re.search(f": ({'|'.join(reasons)})", problem) is not None
