"""Sums of bytes, each term with the formula that it comes from: what `rl check --explain` shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from rl.units import size

PARTS = ("weights", "gradients", "optimizer", "kv", "activations", "other")
"""Kinds of content in an actor's memory."""


@dataclass
class Memory:
    """Bytes of one actor by what they hold, with their formulas.

    >>> memory = Memory()
    >>> memory.add("weights", 2 * 1.5e9, "2 B × 1.5B parameters")
    """

    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    formulas: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    resting: float = 0.0
    """Bytes that stay on the device while others have their turn."""

    def add(self, part: str, count: float, formula: str, rests: bool = True) -> None:
        """Add so many bytes to a part; `rests`: they stay while others have their turn."""
        if not count:
            return
        self.parts[part] += count
        self.formulas.setdefault(part, []).append(f"{formula} = {size(count)}")
        self.resting += count if rests else 0.0

    def __getitem__(self, part: str) -> float:
        return self.parts[part]
