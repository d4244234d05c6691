"""A recipe's keys beside its stages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.settings import ModelConfig
from rewards.combine import RewardConfig
from rl.config import ConfigError
from rl.data.sources import DataConfig
from rl.run.sinks import registry as trackers
from rl.workers.placement import ClusterConfig
from rl.workers.trainer_config import TrainerConfig
from rollouts.environments.config import EnvironmentConfig
from rollouts.judge_engine import JudgeConfig
from rollouts.serving import EngineConfig

LARGEST_SEED = 2**32 - 1
"""Largest seed that every random generator behind a run takes."""


@dataclass
class RunConfig:
    """The run itself, and the loss of a process, a node or Ray under it."""

    # Above 0, since nobody watches a run at night; few, since what kills a process twice at the same place kills it again.
    retries: int = 2
    """Times in a row, without a new checkpoint in between, that a run which loses a process, a node or Ray itself
    builds its cluster anew and goes on from the newest checkpoint. 0: the run ends, to be resumed by hand."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a negative count."""
        if self.retries < 0:
            raise ConfigError(f"{place}.retries: must not be negative; got {self.retries}")


@dataclass
class Header:
    """Settings of a recipe that all its stages share."""

    name: str
    """Name of the recipe, and of its folder under `runs/`; without one, that of its file."""
    model: ModelConfig
    """The model to start from."""
    reward: RewardConfig
    """The reward that scores a sample, unless a stage has a reward of its own."""
    seed: int = 0
    """Seed of everything that is drawn at random; two runs with the same seed give the same numbers."""
    data: dict[str, DataConfig] = field(default_factory=dict[str, DataConfig])
    """Data sets by the names that stages call them by."""
    engines: EngineConfig = field(default_factory=EngineConfig)
    """vLLM engines that sample from the policy."""
    judges: dict[str, JudgeConfig] = field(default_factory=dict[str, JudgeConfig])
    """Models that the run serves to parts of the reward: `{verifier: judge, args: {served: NAME}}`."""
    environment: str | EnvironmentConfig | None = None
    """The environment that answers the policy while it writes, unless a stage has its own: a tool's name, file.py:step, or a mapping."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """DeepSpeed trainers of policy, critic and reference."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """The Ray cluster of engines and trainers, and their places on it."""
    run: RunConfig = field(default_factory=RunConfig)
    """Response of the run to the loss of a process, a node or Ray."""
    track: list[str] = field(default_factory=lambda: ["tensorboard"])
    """Sinks that get the run's records beside its own directory: tensorboard, wandb, mlflow, prometheus
    (prometheus:PORT), file.py:Tracker."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for settings that are out of bounds or contradict each other."""
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ConfigError(f"name: '{self.name}' names folders; use letters, digits, '-', '_' and '.'")
        if self.seed < 0:
            raise ConfigError(f"seed: must not be negative; got {self.seed}")
        if self.seed > LARGEST_SEED:
            raise ConfigError(f"seed: must be at most {LARGEST_SEED}; got {self.seed}")
        trackers.check(self.track)
        # ZeRO-3 gathers a module's weights at each call, on all ranks at once. Ranks whose clips differ in length call the
        # encoder differently often, so they would wait for each other forever.
        if self.model.train_encoder and self.trainer.zero_stage == 3:
            raise ConfigError(
                "trainer.zero_stage: 3 does not work with model.train_encoder, because ranks whose clips differ in length "
                "would wait for each other; use 2"
            )
