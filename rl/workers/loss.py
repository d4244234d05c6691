"""The loss of what a run runs on, as those who notice it tell those who decide what follows."""

from __future__ import annotations

from dataclasses import dataclass

FIX = "go on with --resume"
"""Advice to a user after a loss that ends the run."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a process, a node or Ray under a run."""

    text: str
    """The lost thing and the reason, in one line."""
    is_curable: bool = True
    """True if new processes in their place may live; False where the same would happen again: memory ran out, or one
    never started."""
    breaks_ray: bool = False
    """True if Ray may answer no call any more, not even the one that ends it."""
