"""What the start of a trainer does not wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from models.heads import LogprobModel
from models.load import load_tokenizer

load_tokenizer(sys.argv[1])
LogprobModel(sys.argv[1], "float32")
assert not {"sklearn", "pandas"} & {*sys.modules}
import sklearn.metrics  # who needs it finds it
"""


def test_a_trainers_model_needs_no_scikit_learn(tied: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tied)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
