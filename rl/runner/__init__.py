"""Runs a recipe's stages in order, and goes on with a stopped run. `run` is the door."""

from rl.runner.execute import run

__all__ = ["run"]
