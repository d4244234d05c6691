"""Surroundings that the runner hands to a stage: where to write, what to read, and the actors, all under the names that
the recipe gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rl import terminal
from rl.types import Prompt

if TYPE_CHECKING:
    from rewards.combine import RewardConfig
    from rewards.service import RewardService
    from rl.data.mixture import Data
    from rl.data.pairs import Pair
    from rl.data.stage_outputs import Lookup
    from rl.run.tracker import Tracker
    from rl.workers.cluster import Cluster
    from rollouts.episodes import Environment


@dataclass
class Outcome:
    """Result of a stage, for later ones: metrics, and artifacts by kind (`model`, `difficulty`, `distilled`, `pairs`)."""

    metrics: dict[str, float]
    artifacts: dict[str, str] = field(default_factory=dict[str, str])
    """Paths by kind."""
    counts: dict[str, int] = field(default_factory=dict[str, int])
    """Amounts that the stage worked through, in order; for a stage that filters, the number that came in and the number
    left after each step."""
    facts: dict[str, object] = field(default_factory=dict[str, object])
    """Further entries of the artifacts' provenance."""


@dataclass
class Context:
    """Surroundings of one stage of a run.

    Example: `prompts = context.prompts(config.data, config.split, config.limit)`, then
    `context.cluster.sampler.load(context.model)` and `context.tracker.record(step, metrics)`.
    """

    name: str
    """Name of the stage; in a repeated block with its iteration, `rlvr@2`."""
    seed: int
    folder: Path
    """Folder of the stage's own."""
    model: Path
    """Model that the stage starts from."""
    cluster: Cluster
    rewards: RewardService
    """Service of the recipe's reward."""
    tracker: Tracker
    data: Callable[[str, str | None, int | None], list[Prompt]]
    """Function: (name of a data set, split, limit) -> prompts."""
    lookup: Callable[[str], Lookup]
    """Name of the stage that wrote a data set or pairs, or their path -> where their prompts are found."""
    artifact: Callable[[str, str], Path]
    """Function: (kind, name of an earlier stage or a path) -> path of the artifact."""
    say: Callable[[str], None] = terminal.say
    """Function that prints one line for the user."""
    environment: Environment | None = None
    """The environment that answers the model in this stage; None for none. The cluster's sampler has it too."""
    service: Callable[[RewardConfig], RewardService] | None = None
    """Starts a service for a reward of the stage's own, once it has judged its gold cases right."""
    earlier: Callable[[str], Path | None] = lambda kind: None
    """Artifact of that kind that the stage's last iteration in a repeated block has left."""
    record: Callable[[], Mapping[str, object]] = dict
    """Provenance of anything that the stage leaves: what made it, of what it has read so far."""

    @contextmanager
    def reward_service(self, reward: RewardConfig | None) -> Iterator[RewardService]:
        """Yield the recipe's reward service, or one of the stage's own `reward` for as long as it is needed. Raises
        ValueError when a verifier fails its own gold cases."""
        if reward is None:
            # Not closed behind the block: it is the run's, and later stages judge by it.
            yield self.rewards
            return
        assert self.service is not None, "a reward of the stage's own needs somebody to start its service"
        with self.service(reward) as service:
            yield service

    def sources(self, data: Data, split: str | None, limit: int | None) -> dict[str, Sequence[Prompt]]:
        """Return {source: its prompts} of a data set, of what a `distill` stage wrote, or of a mixture of such. Raises
        ValueError, also where two sources have the same prompt."""
        from rl.data.mixture import limits, require_distinct_ids

        return require_distinct_ids(
            {name: self.data(name, split, count) for name, count in limits(data, limit).items()}
        )

    def prompts(self, data: Data, split: str | None, limit: int | None) -> list[Prompt]:
        """Return the prompts of all sources, source by source."""
        return [prompt for prompts in self.sources(data, split, limit).values() for prompt in prompts]

    def pairs(self, name: str, split: str | None, limit: int | None) -> list[Pair]:
        """Return the preference pairs that a `pairs` stage wrote, or of a data set. Raises ValueError."""
        from rl.data.pairs import pairs_of
        from rl.data.stage_outputs import load_pairs

        # The name of a data set comes back as it is, also where a file is called so: `split` chooses among its rows.
        # Those of a `pairs` stage are of the split that it sampled.
        file = self.artifact("pairs", name)
        if file == Path(name):
            return pairs_of(self.data(name, split, limit), f"data.{name}")
        return load_pairs(file, self.lookup(name))[:limit]
