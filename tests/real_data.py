"""Real data for the tests that read some: the folder that GROUNDTONE_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("GROUNDTONE_DATA") or os.devnull)
"""The folder; where the variable is not set, a path that holds nothing."""

real = pytest.mark.skipif(not DATA.is_dir(), reason="GROUNDTONE_DATA is not set")


def data_file(name: str) -> Path:
    """Return the file or folder of that name in the data, or skip the test that asks for it."""
    if not (DATA / name).exists():
        pytest.skip(f"GROUNDTONE_DATA holds no {name}" if DATA.is_dir() else "GROUNDTONE_DATA is not set")
    return DATA / name
