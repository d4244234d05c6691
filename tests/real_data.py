"""Real data for tests: the folder that GROUNDTONE_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("GROUNDTONE_DATA") or os.devnull)
"""The folder of data; a path without files where the variable is not set."""

real = pytest.mark.skipif(not DATA.is_dir(), reason="GROUNDTONE_DATA is not set")
"""Mark of tests that need the folder."""


def data_file(name: str) -> Path:
    """Return the path of a file or folder in the data, or skip the calling test if there is none."""
    if not (DATA / name).exists():
        pytest.skip(f"GROUNDTONE_DATA holds no {name}" if DATA.is_dir() else "GROUNDTONE_DATA is not set")
    return DATA / name
