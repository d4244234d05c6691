"""The wheel holds all that it needs: recipes, the report's page, data of verifiers, type markers, entry points."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("rl", "rewards", "rollouts", "models")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_every_file_of_the_packages_is_inside(wheel: zipfile.ZipFile) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES, "recipes"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [name for name in tracked if name not in wheel.namelist() and (ROOT / name).is_file()] == []


def test_types_and_entry_points_are_declared(wheel: zipfile.ZipFile) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= {*wheel.namelist()}
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(entry_points).decode()
    assert "rl = rl.cli:main" in text
    assert "models.audio.plugin:register" in text  # without it vLLM does not know our models that listen


def test_the_installed_command_needs_no_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    wheel.extractall(tmp_path / "installed")
    program = (
        "import rl, sys; sys.argv = ['rl', 'check', 'quickstart']; print(rl.__file__)\nfrom rl.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "installed" / "rl"))
    assert "60 steps: 960 prompts drawn" in done.stdout
