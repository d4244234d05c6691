"""`scripts/bench model` runs to its table, with a model of two layers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_sampling_and_updates_are_measured_beside_the_arithmetic(tied: Path, tmp_path: Path) -> None:
    program, results = ROOT / "scripts" / "benchmarks" / "model.py", tmp_path / "results.json"
    command = [sys.executable, str(program), str(tied), "--json", str(results), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "a step of 64 samples" in done.stdout
    for measured in json.loads(results.read_text()).values():
        assert measured["limit"] > 0
        assert measured["update_shared"]["through"] < measured["update"]["through"] == 1
        assert measured["update"]["forward"] > 0
        assert measured["engine"]["decode"] > 0
