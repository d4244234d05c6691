"""Serves a run's reward models to its rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rl.json_files import Fields, read_object
from rl.stages.reward_model import SCALE
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from rl.types import Rollout
    from rl.workers.cluster import Cluster


class RewardModels:
    """The served reward models of a run. They share the ranks of one role, so one is loaded when a reward first uses it,
    again after another one was, and again when a later iteration has trained a newer one."""

    def __init__(
        self, cluster: Callable[[], Cluster], folder: Callable[[str], Path], model: Callable[[], Path]
    ) -> None:
        """Load nothing yet. `folder` returns that of a reward model by name; `model` that of the policy, whose audio
        encoder reward models use."""
        # Functions, called with each batch: at this time there is no cluster, and perhaps no reward model of that name.
        self.cluster, self.folder, self.model = cluster, folder, model
        self.current: Path | None = None
        """Folder of the reward model that is loaded."""
        self.mean = 0.0
        """Mean reward of the answers that it was trained on."""
        self.lock = Lock()
        """Held while one model is loaded and used: each part of a reward runs in a thread of its own."""

    def forget(self) -> None:
        """Load the model anew when it is next used. A call to the lost cluster may never return: it keeps its lock."""
        self.current, self.lock = None, Lock()

    def scorer(self, name: str) -> Callable[[Sequence[Rollout]], list[float]]:
        """Return a function from rollouts to the rewards of the model `name`, less their mean over the answers it was
        trained on: σ of one is the probability of being preferred to an average answer."""
        return partial(self._score, name)

    def _score(self, name: str, rollouts: Sequence[Rollout]) -> list[float]:
        from rl.data.collate import collate
        from rl.data.pairs import last_token_batch
        from rl.types import Scored, Verdict

        batch = last_token_batch(collate([Scored(rollout, Verdict()) for rollout in rollouts]))
        lock = self.lock
        with lock:
            if lock is not self.lock:  # the cluster was lost while this call waited for its turn
                return self._score(name, rollouts)
            cluster = self.cluster()
            self._load(cluster, self.folder(name))
            # Where no policy is loaded, nobody has told the audio worker whose encoder to run.
            if any(rollout.prompt.clips for rollout in rollouts):
                cluster.audio_features.borrow_encoder(self.model(), cluster.model.dtype)
            return [value - self.mean for value in cluster.reward_model.values(batch).get().tolist()]

    def _load(self, cluster: Cluster, folder: Path) -> None:
        """Load a reward model and its mean, unless it is the current one."""
        if self.current == folder:
            return
        self.current = None  # a load that fails half-way leaves no usable model
        mean = read_mean(folder)
        # Its adapter was merged when it was exported, and it does not learn.
        cluster.reward_model.load(folder, replace(cluster.model, lora=None), OptimizerConfig())
        self.mean, self.current = mean, folder


def read_mean(folder: Path) -> float:
    """Return the mean reward of the answers that the reward model was trained on. Raises ValueError."""
    file, fix = folder / SCALE, "name the folder of a reward model that a reward_model stage of this version wrote"
    mean = Fields(read_object(file, fix), file, fix).number("mean")
    if mean is None:
        raise ValueError(f"{file}: has no mean; {fix}")
    return float(mean)
