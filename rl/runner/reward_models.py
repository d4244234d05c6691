"""The reward models that a run serves to its own rewards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rl.stages.reward_model import SCALE
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from rl.types import Rollout
    from rl.workers.cluster import Cluster


class RewardModels:
    """The served reward models of a run, for each a function from rollouts to their rewards less the mean over the answers
    it learned from, so that σ of one is the chance of being preferred to an average one. They share the ranks of the
    role: one is loaded when it is first asked, again after another one, and again when a later iteration has made a newer.
    """

    def __init__(
        self, cluster: Callable[[], Cluster], folder: Callable[[str], Path], model: Callable[[], Path]
    ) -> None:
        """All are asked for at a call: there is no cluster before, and perhaps no reward model of that name. `model` is
        the one whose encoder hears for them where no policy is loaded."""
        self.cluster, self.folder, self.model = cluster, folder, model
        self.loaded: Path | None = None
        self.mean = 0.0
        self.turn = Lock()
        """Each part of a reward asks in a thread of its own."""

    def named(self, name: str) -> Callable[[Sequence[Rollout]], list[float]]:
        return partial(self._score, name)

    def _score(self, name: str, rollouts: Sequence[Rollout]) -> list[float]:
        from rl.data.collate import collate
        from rl.data.pairs import last_token_batch
        from rl.types import Scored, Verdict

        batch = last_token_batch(collate([Scored(rollout, Verdict()) for rollout in rollouts]))
        with self.turn:
            cluster = self.cluster()
            self._load(cluster, self.folder(name))
            if any(rollout.prompt.clips for rollout in rollouts):
                cluster.audio_features.borrow_encoder(self.model(), cluster.model.dtype)
            return [value - self.mean for value in cluster.reward_model.values(batch).get().tolist()]

    def _load(self, cluster: Cluster, folder: Path) -> None:
        if self.loaded == folder:
            return
        self.loaded = None  # a load that fails half-way leaves nothing to ask
        cluster.reward_model.load(folder, cluster.model, OptimizerConfig())
        self.mean, self.loaded = float(json.loads((folder / SCALE).read_text())["mean"]), folder
