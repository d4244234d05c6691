"""The check of what an environment takes from the system, on made-up environments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from elf import built

SCRIPT = Path(__file__).parents[2] / "scripts" / "system_libraries.py"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    return site


def leanings(site: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, SCRIPT, site], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_library_that_nothing_brings_is_named_with_who_wants_it(site: Path) -> None:
    built(site / "hall" / "core.abi3.so", needs="libnowhere.so.7")
    code, says = leanings(site)
    assert code == 1
    assert says.startswith("libnowhere.so.7: hall/core.abi3.so takes it from the system, where scripts/setup does not")
    built(site / "hall.libs" / "libnowhere.so.7")
    assert leanings(site) == (0, "")


def test_what_setup_installs_and_what_every_system_has_may_be_wanted(site: Path) -> None:
    for number, library in enumerate(("libnuma.so.1", "libstdc++.so.6", "libcuda.so.1")):
        built(site / f"{number}.so", needs=library)
    built(site / "numba/np/ufunc/omppool.so", needs="libnowhere.so.7")
    assert leanings(site) == (0, "")


def test_a_library_that_is_opened_by_its_name_must_have_come_with_its_wheel(site: Path) -> None:
    (site / "soundfile.py").touch()
    code, says = leanings(site)
    assert (code, says.partition(" takes")[0]) == (1, "libsndfile.so: soundfile.py")
    built(site / "_soundfile_data" / "libsndfile_x86_64.so")
    assert leanings(site) == (0, "")
