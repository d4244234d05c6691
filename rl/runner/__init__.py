"""Runs a recipe's stages in order and resumes a stopped run. Callers import `run` from here."""

from rl.runner.execute import run

__all__ = ["run"]
