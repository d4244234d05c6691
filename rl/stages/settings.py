"""Settings that several stages share. A stage's own `Config` extends one of these classes.

    StageConfig                     data, split, limit, model                        rlvr
    ├── SamplingConfig              + samples, temperature, max_sequence_tokens      curate, evaluate
    │   └── CandidatesConfig        + select, ask, system, reward                    arbitrate, distill, pairs
    ├── TrainingConfig              + epochs, optimizer                              encode, sft
    │   └── PairTrainingConfig      + pairs_per_step, max_sequence_tokens            dpo, reward_model
    └── CheckpointConfig            + checkpoint_every, keep                         sft, dpo beside the above

Beside the keys of a recipe each class answers the questions that the recipe, the plan and the runner ask of any stage
(`roles`, `reads`, `evaluation`, …), so that nobody else has to know which kinds of stages there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

from rewards.combine import PartConfig, RewardConfig
from rl.config import HIGHEST_TEMPERATURE, ConfigError
from rl.data.mixture import Data, quoted
from rl.workers.optimizer import OptimizerConfig
from rollouts.environments.config import EnvironmentConfig


@dataclass(frozen=True, slots=True)
class Read:
    """One read of data that a stage makes, as `load` will be called."""

    data: Data
    split: str | None
    limit: int | None
    key: str = ""
    """Key of the stage that asks for it, such as `eval`; empty for the stage's own data."""


@dataclass
class StageConfig:
    """Settings that every stage has."""

    data: Data
    """A data set of the recipe, the stage that writes one, or several with their weights."""
    split: str | None = "train"
    """The rows of this split; null: all rows."""
    limit: int | None = None
    """The first so many prompts; default: all of them."""
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""

    def validate(self, place: str) -> None:
        """Raise ConfigError, beginning with `place`, where settings contradict each other."""

    @property
    def roles(self) -> set[str]:
        """Actors that the stage works with: engine, policy, critic, reference, teacher."""
        return {"policy"}

    @property
    def reads(self) -> Sequence[Read]:
        """Everything that the stage reads, its own data first."""
        return [Read(self.data, self.split, self.limit)]

    @property
    def stage_reward(self) -> RewardConfig | None:
        """Reward of the stage's own; None: the recipe's."""
        return None

    @property
    def judges_samples(self) -> bool:
        """Return whether the stage has samples judged by the reward."""
        return False

    @property
    def evaluation(self) -> tuple[SamplingConfig, int] | None:
        """Evaluation within the stage and how often it is made; None without one."""
        return None

    @property
    def named_parts(self) -> Mapping[str, Sequence[str]]:
        """Parts of the verdict that each of the stage's keys names."""
        return {}

    @property
    def training_temperature(self) -> float | None:
        """Temperature at which the stage explores, which evaluations near it take over; None where it does not."""
        return None

    def settle_temperature(self, nearby: float) -> None:
        """Fill in the temperature of sampling where the recipe leaves it open; `nearby` is that of the rlvr stage before
        this one, or after it."""

    def settle_dtype(self, dtype: str) -> None:
        """Fill in what the recipe leaves open and the model's number type decides."""

    def check_functions(self, place: str) -> None:
        """Import the user's functions that the stage names. Raises ConfigError for one that cannot be imported or called."""

    def problems(self, place: str, rows: int | None) -> list[str]:
        """Return what cannot come out with `rows` rows (None: not known), one line each."""
        return []

    def notes(self, place: str, rows: int | None) -> list[str]:
        """Return what is possible with `rows` rows and probably not meant, one line each."""
        return []


def check_temperature(temperature: float | None, place: str) -> None:
    """Raise ConfigError for a temperature that is too high for engines. Whether 0 (greedy) is allowed is up to each stage."""
    if temperature is not None and not temperature <= HIGHEST_TEMPERATURE:
        raise ConfigError(f"{place}.temperature: must be at most {HIGHEST_TEMPERATURE:g}; got {temperature:g}")


@dataclass
class SamplingConfig(StageConfig):
    """Settings of a stage that samples answers."""

    samples: int = 8
    """Samples of each prompt."""
    temperature: float | None = None
    """Sampling temperature; default: that of the rlvr stage nearby, settled when the recipe is loaded."""
    max_sequence_tokens: int = 10240
    """Prompt and response together."""
    environment: str | EnvironmentConfig | None = None
    """The environment that answers the model while it writes: a tool's name, file.py:step, or a mapping; default: the recipe's; `none`: none."""

    def validate(self, place: str) -> None:
        if self.samples < 1:
            raise ConfigError(f"{place}.samples: must be at least 1; got {self.samples}")
        check_temperature(self.temperature, place)

    @property
    def roles(self) -> set[str]:
        return {"engine"}

    @property
    def judges_samples(self) -> bool:
        return True

    def settle_temperature(self, nearby: float) -> None:
        if self.temperature is None:
            self.temperature = nearby

    @property
    def settled_temperature(self) -> float:
        """Temperature once the recipe is loaded."""
        assert self.temperature is not None, "rl.recipe.stage_list settles temperatures when a recipe is loaded"
        return self.temperature


@dataclass
class CandidatesConfig(SamplingConfig):
    """Settings of a stage that samples answers to choose from."""

    temperature: float | None = 1.0
    select: dict[str, object] | None = None
    """Prompts to sample from: a `when` rule, as a reward part has it, such as `{source: timbre}` or `{audio: true}`."""
    ask: str | None = None
    """Text put after the question while sampling, and not stored: "Refer to what you hear …"."""
    system: str | None = None
    """The system turn while sampling; not stored."""
    reward: RewardConfig | None = None
    """Verifiers of the stage's own; default: the recipe's reward."""

    def validate(self, place: str) -> None:
        super().validate(place)
        if self.settled_temperature <= 0:
            raise ConfigError(f"{place}.temperature: must be above 0, or all samples are the same")
        # A part of a reward with nothing but the rule, so that `select` takes what `when` takes.
        PartConfig("select", when=self.select).validate(f"{place}.select")

    @property
    def stage_reward(self) -> RewardConfig | None:
        return self.reward


def check_least(least: Mapping[str, float], place: str) -> None:
    """Raise ConfigError where a part of the verdict is asked to be more than it can be; `part/inner` has no bound."""
    for part, value in least.items():
        if "/" not in part and value > 1:
            raise ConfigError(f"{place}.{part}: scores are at most 1; got {value:g}")


@dataclass
class TrainingConfig(StageConfig):
    """Settings of a stage that learns from its rows, epoch by epoch."""

    epochs: float = 1.0
    """Passes over the data; a pass over a mixture ends when the first of its sources has been seen once."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-5))
    """The optimiser and its learning rate."""

    rows_key: ClassVar[str]
    """Key that says how many rows one optimiser step takes."""

    def validate(self, place: str) -> None:
        if self.epochs <= 0 or self.rows_per_step < 1:
            raise ConfigError(f"{place}: epochs and {self.rows_key} must be positive")

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimiser step."""
        return cast(int, getattr(self, self.rows_key))

    def steps(self, rows: int) -> int:
        """Return the optimiser steps when an epoch has `rows` rows."""
        # At least one: a part of an epoch over few rows would round to none, and the stage export what it started with.
        return max(1, round(self.epochs * rows / self.rows_per_step))

    def notes(self, place: str, rows: int | None) -> list[str]:
        step_rows = self.rows_per_step
        # Without rows the plan refuses the stage anyway.
        if rows is None or not 0 < rows < step_rows:
            return []
        return [
            f"{place}.{self.rows_key}: {step_rows} asked for, {quoted(self.data)} has {rows}: each is drawn about "
            f"{step_rows / rows:.2g} times in one step; lower it"
        ]


@dataclass
class PairTrainingConfig(TrainingConfig):
    """Settings of a stage that learns from preference pairs."""

    data: str  # pyright: ignore[reportIncompatibleVariableOverride]  # pairs come from one place, not from a mixture
    """A `pairs` stage, or a data set whose rows have `chosen` and `rejected`."""
    pairs_per_step: int = 64
    """Preference pairs in each optimiser step."""
    max_sequence_tokens: int = 10240
    """Tokens of the longest sequence, prompt and response together."""

    rows_key: ClassVar[str] = "pairs_per_step"

    @property
    def sequences_per_step(self) -> int:
        """Sequences of one optimiser step, two for each pair."""
        return 2 * self.pairs_per_step


@dataclass
class CheckpointConfig(StageConfig):
    """Settings of a stage whose training can be resumed in its middle."""

    checkpoint_every: int = 0
    """Steps between two checkpoints; 0: only the finished model is stored."""
    keep: int = 1
    """Checkpoints that stay."""

    def validate(self, place: str) -> None:
        super().validate(place)
        if self.checkpoint_every < 0:
            raise ConfigError(f"{place}.checkpoint_every: must not be negative; got {self.checkpoint_every}")

    def is_due(self, step: int, last: int) -> bool:
        """Return whether step `step` of `last` leaves a checkpoint; the last one leaves the finished model."""
        return self.checkpoint_every > 0 and step % self.checkpoint_every == 0 and step < last
