"""What a stage is handed: where to write, what to read, and the actors, all named as the recipe names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.types import Prompt

if TYPE_CHECKING:
    from rewards.combine import RewardConfig
    from rewards.service import RewardService
    from rl.data.mixture import Data
    from rl.data.pairs import Pair
    from rl.data.stage_outputs import Lookup
    from rl.run.tracker import Tracker
    from rl.workers.cluster import Cluster


@dataclass
class Outcome:
    """What a stage leaves to later ones: numbers, and files by kind (`model`, `difficulty`, `distilled`, `pairs`)."""

    metrics: dict[str, float]
    artifacts: dict[str, str] = field(default_factory=dict[str, str])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    """The funnel, in order: how many came in, how many were left after each step."""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else the artifacts' provenance is to say."""


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
    lookup: Callable[[str], Lookup]
    """Name of the stage that wrote a data set or pairs, or their path -> where their prompts are found."""
    artifact: Callable[[str, str], Path]
    """(kind, name of an earlier stage or a path) -> where it is."""
    say: Callable[[str], None] = print
    service: Callable[[RewardConfig], RewardService] | None = None
    """Makes a service, which has proved itself, for a reward of the stage's own."""
    earlier: Callable[[str], Path | None] = lambda kind: None
    """The artifact of that kind that the stage's last iteration in a repeated block has left."""
    record: Callable[[], Mapping[str, Any]] = dict
    """What is to be known of anything that the stage leaves: what made it, of what it has read so far."""

    @contextmanager
    def judging(self, reward: RewardConfig | None) -> Iterator[RewardService]:
        """The recipe's reward service, or one of the stage's own `reward` for as long as it is needed. Raises ValueError
        when a verifier fails its own gold cases."""
        if reward is None:
            yield self.rewards
            return
        assert self.service is not None, "a reward of the stage's own needs somebody to make it"
        with self.service(reward) as service:
            yield service

    def sources(self, data: Data, split: str | None, limit: int | None) -> dict[str, Sequence[Prompt]]:
        """{source: its prompts} of a data set, of what a `distill` stage wrote, or of a mixture of such. Raises
        ValueError, also where two sources have the same prompt."""
        from rl.data.mixture import limits, require_distinct_ids

        return require_distinct_ids({name: self.data(name, split, most) for name, most in limits(data, limit).items()})

    def prompts(self, data: Data, split: str | None, limit: int | None) -> list[Prompt]:
        """All of them, source by source."""
        return [prompt for prompts in self.sources(data, split, limit).values() for prompt in prompts]

    def pairs(self, name: str, split: str | None, limit: int | None) -> list[Pair]:
        """The preference pairs that a `pairs` stage wrote, or of a data set. Raises ValueError."""
        from rl.data.pairs import pairs_of
        from rl.data.stage_outputs import load_pairs

        file = self.artifact("pairs", name)
        if file.is_file():
            return load_pairs(file, self.lookup(name))[:limit]
        return pairs_of(self.data(name, split, limit), f"data.{name}")
