"""A listening model can be the first that a process loads, whichever function loads it: the class is ours, and transformers does
not know it by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOADS = {
    "a policy": 'models.load.load_model(path, "float32")',
    "the trunk of a critic": 'models.load.empty_model(path, "float32")',
    "an ear alone": 'models.heads.load_hearing(path, "float32")',
}


@pytest.mark.parametrize("what", LOADS)
def test_nothing_need_be_loaded_before(listener: Path, what: str) -> None:
    program = f"import sys\nimport models.heads, models.load\npath = sys.argv[1]\n{LOADS[what]}\n"
    done = subprocess.run([sys.executable, "-c", program, str(listener)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
