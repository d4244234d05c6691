"""What a stage is handed: where to write, what to read, and the actors, all named as the recipe names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rl.types import Prompt

if TYPE_CHECKING:
    from rewards.service import RewardService
    from rl.data.pairs import Pair
    from rl.run.tracker import Tracker
    from rl.workers.cluster import Cluster


@dataclass
class Outcome:
    """What a stage leaves to later ones: numbers, and files by kind (`model`, `difficulty`)."""

    metrics: dict[str, float]
    artifacts: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class Context:
    name: str
    seed: int
    folder: Path
    """The stage's own."""
    model: Path
    """The model that the stage starts from."""
    cluster: Cluster
    rewards: RewardService
    tracker: Tracker
    data: Callable[[str, str | None, int | None], list[Prompt]]
    """(name of a data set, split, limit) -> prompts."""
    artifact: Callable[[str, str], Path]
    """(kind, name of an earlier stage or a path) -> where it is."""
    say: Callable[[str], None] = print

    def pairs(self, name: str, split: str | None, limit: int | None) -> list[Pair]:
        """The preference pairs of a data set. Raises ValueError."""
        from rl.data.pairs import pairs_of

        return pairs_of(self.data(name, split, limit), f"data.{name}")
