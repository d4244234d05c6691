"""Settings of the `rlvr` stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rewards.combine import RewardConfig
from rl.algorithms.presets import ALGORITHMS, Objective, objective
from rl.config import ConfigError
from rl.data.mixture import Data
from rl.stages import evaluate
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    pass


@dataclass
class Config:
    data: Data
    split: str | None = "train"
    limit: int | None = None
    difficulty: str | None = None
    """A curate stage or a difficulty file: only the prompts it keeps."""
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""
    reward: RewardConfig | None = None
    """A reward of the stage's own, such as one that asks a reward model trained before; default: the recipe's."""
    algorithm: str = "ppo"
    """ppo, grpo, rloo, reinforce++, reinforce++-baseline, dr_grpo, dapo, gspo, cispo."""
    objective: dict[str, Any] = field(default_factory=dict[str, Any])
    """Knobs of the algorithm that differ from its own (see rl/algorithms/registry.py)."""
    steps: int = 100
    prompts_per_step: int = 64
    samples_per_prompt: int = 16
    max_sequence_tokens: int = 10240
    temperature: float = 1.0
    epochs: int = 1
    """Passes over each batch of rollouts."""
    minibatches: int = 1
    """Optimiser steps of each pass."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    critic: str | None = None
    """Where the critic starts: an earlier stage or a path; default: the policy."""
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-5))
    critic_warmup_steps: int = 0
    """Steps in which only the critic learns; the schedule of `optimizer` begins after them."""
    max_logprob_gap: float = 1.0
    """The run stops when engine and trainer disagree by more than this, in the mean."""
    eval_every: int = 0
    eval: evaluate.Config | None = None
    checkpoint_every: int = 10
    keep: int = 2
    """Checkpoints that stay, beside the best one by evaluation."""

    def validate(self, place: str) -> None:
        for name in ("steps", "prompts_per_step", "samples_per_prompt", "epochs", "minibatches", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")
        if self.temperature <= 0:
            raise ConfigError(f"{place}.temperature: must be above 0 to explore; got {self.temperature}")
        rollouts = self.prompts_per_step * self.samples_per_prompt
        if rollouts % self.minibatches:
            raise ConfigError(
                f"{place}.minibatches: {self.prompts_per_step} prompts × {self.samples_per_prompt} samples = {rollouts} "
                f"rollouts do not divide into {self.minibatches}; choose a divisor"
            )
        if self.eval_every and self.eval is None:
            raise ConfigError(f"{place}.eval_every: nothing to evaluate on; add `eval: {{data: …, split: …}}`")
        if self.eval is not None and self.eval_every == 0:
            raise ConfigError(f"{place}.eval: never measured; add `eval_every: STEPS`, or remove it")
        for name in ("model", "controls", "budgets"):
            if getattr(self.eval, name, None):
                raise ConfigError(f"{place}.eval.{name}: only an evaluate stage of its own does that; remove it")
        for name in ("max_logprob_gap", "critic_warmup_steps", "eval_every"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{place}.{name}: must not be negative; got {getattr(self, name)}")
        if self.critic_warmup_steps and not self.resolved(place).critic:
            raise ConfigError(f"{place}.critic_warmup_steps: {self.algorithm} has no critic to warm up; remove it")
        self.resolved(place)

    def resolved(self, place: str = "") -> Objective:
        """The algorithm with this stage's changes."""
        key = "objective" if self.algorithm in ALGORITHMS else "algorithm"
        return objective(self.algorithm, self.objective, f"{place}.{key}".lstrip("."))

    @property
    def optimiser_steps(self) -> int:
        """Of each batch of rollouts."""
        return self.epochs * self.minibatches
