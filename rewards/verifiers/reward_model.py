"""The value that a scalar reward head of the run's gives the turn, brought to [0, 1] by a sigmoid.

    - verifier: reward_model
      args: {served: reward, scale: 0.5}

The run hands the head in: `RewardService(config, folder, models={"reward": values})`, where `values` takes a batch of
rollouts and returns one number for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewards.contract import Case
from rewards.served import Batches, Model, find_model
from rl.config import ConfigError, build
from rl.types import Prompt, Rollout, Verdict


@dataclass(frozen=True, slots=True)
class Config:
    """The arguments of the `reward_model`."""

    served: str = "reward"
    """The name under which the run serves the head."""
    centre: float = 0.0
    """The value that scores 0.5."""
    scale: float = 1.0
    """Units of the head's value that multiply the odds by e."""
    batch: int = 32
    """Number of rollouts in one call."""
    deadline_s: float = 600.0
    """Seconds for one call."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for arguments that are not positive."""
        if self.scale <= 0 or self.batch < 1 or self.deadline_s <= 0:
            raise ConfigError(f"{place}: scale, batch and deadline_s must be positive")


def verify(prompt: Prompt, rollout: Rollout, *, value: float, centre: float = 0.0, scale: float = 1.0) -> Verdict:
    """Return σ((value − centre) / scale) as the score and the value itself as the part `value`. Raises ValueError where the
    value is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"the reward model's value is {value}")
    # σ(x) = (1 + tanh(x / 2)) / 2, which overflows for no x
    return Verdict(0.5 + 0.5 * math.tanh((value - centre) / scale / 2), {"value": value})


def connect(args: Mapping[str, object], models: Mapping[str, Model]) -> RewardModel:
    """Return the verifier of a head that the run serves. Raises ConfigError where it serves none of that name."""
    config = build(Config, args, "reward_model.args")
    return RewardModel(config, find_model(models, config.served, "reward_model.args.served"))


class RewardModel:
    """A reward head that the run serves, asked in batches."""

    gold: Sequence[Case] | None = None  # a head is trained on preferences: no case of ours is right for every one

    def __init__(self, config: Config, model: Model) -> None:
        """Ask `model`, a function from a batch of rollouts to as many numbers."""
        self._config, self._calls = config, 0

        def call(rollouts: Sequence[Rollout]) -> list[float]:
            self._calls += 1
            return [float(value) for value in model(rollouts)]  # the model may return tensors or numpy scalars

        self._batches = Batches[Rollout, float](call, config.batch, config.deadline_s)

    async def judge(self, rollout: Rollout) -> Verdict:
        """Return the verdict on one rollout. Raises what the model raises, or TimeoutError."""
        value = await self._batches.ask(rollout)
        return verify(rollout.prompt, rollout, value=value, centre=self._config.centre, scale=self._config.scale)

    def metrics(self) -> Mapping[str, float]:
        """Return the number of calls to the model."""
        return {"calls": float(self._calls)}

    async def close(self) -> None:
        """End the thread that asks the model; the run closes its own head."""
        self._batches.close()


GOLD = [
    Case("a good answer", None, args={"value": 40.0, "centre": 0.0, "scale": 1.0}),
    Case("an answer", None, score=(0.5, 0.5), args={"value": 2.0, "centre": 2.0, "scale": 3.0}),
    Case("a bad answer", None, equal=False, args={"value": -2.0, "centre": 0.0, "scale": 1.0}),
]
