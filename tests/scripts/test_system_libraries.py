"""The check of what an environment takes from the system, on made-up environments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from elf import build_library

SCRIPT = Path(__file__).parents[2] / "scripts" / "system_libraries.py"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    return site


def run_check(site: Path) -> tuple[int, str]:
    result = subprocess.run([sys.executable, SCRIPT, site], capture_output=True, text=True)
    return result.returncode, result.stderr


def test_a_library_that_nothing_brings_is_named_with_who_wants_it(site: Path) -> None:
    build_library(site / "hall" / "core.abi3.so", needs="libnowhere.so.7")
    code, message = run_check(site)
    assert code == 1
    assert message.startswith(
        "libnowhere.so.7: hall/core.abi3.so takes it from the system, where scripts/setup does not"
    )
    build_library(site / "hall.libs" / "libnowhere.so.7")
    assert run_check(site) == (0, "")


def test_what_setup_installs_and_what_every_system_has_may_be_wanted(site: Path) -> None:
    for number, library in enumerate(("libnuma.so.1", "libstdc++.so.6", "libcuda.so.1")):
        build_library(site / f"{number}.so", needs=library)
    build_library(site / "numba/np/ufunc/omppool.so", needs="libnowhere.so.7")
    assert run_check(site) == (0, "")


def test_a_library_that_is_opened_by_its_name_must_have_come_with_its_wheel(site: Path) -> None:
    (site / "soundfile.py").touch()
    code, message = run_check(site)
    assert (code, message.partition(" takes")[0]) == (1, "libsndfile.so: soundfile.py")
    build_library(site / "_soundfile_data" / "libsndfile_x86_64.so")
    assert run_check(site) == (0, "")
