"""Run directories without a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rl.recipe import Recipe
from rl.runner.run_dir import hold_run_dir


def prepare_run_dir(recipe: Recipe, out: Path, resume: bool, say: Callable[[str], None] = print) -> None:
    """Do what a run does to its directory before it begins, and let go of it."""
    with hold_run_dir(recipe, out, resume, say):
        pass
