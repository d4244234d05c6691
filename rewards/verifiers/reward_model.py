"""A scalar head's value of the turn, brought to [0, 1] by a sigmoid; the head is served by the run.

    - verifier: reward_model
      args: {served: reward, scale: 0.5}

The run hands the head in: `RewardService(config, folder, served={"reward": values})`, where `values` takes a batch of
rollouts and returns one number for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.contract import Case
from rewards.served import Batches, Model, named
from rl.config import ConfigError, build
from rl.types import Prompt, Rollout, Verdict


@dataclass(frozen=True, slots=True)
class Config:
    served: str = "reward"
    """The name under which the run serves the head."""
    centre: float = 0.0
    """The value that scores 0.5."""
    scale: float = 1.0
    """How many units of the head's value take the odds up by a factor of e."""
    batch: int = 32
    """Rollouts in one call."""
    deadline_s: float = 600.0
    """For one call."""

    def validate(self, place: str) -> None:
        if self.scale <= 0 or self.batch < 1 or self.deadline_s <= 0:
            raise ConfigError(f"{place}: scale, batch and deadline_s must be positive")


def verify(prompt: Prompt, rollout: Rollout, *, value: float, centre: float = 0.0, scale: float = 1.0) -> Verdict:
    """σ((value − centre) / scale) of the head's value, which is the part `value`. Raises ValueError where it is not
    finite."""
    if not math.isfinite(value):
        raise ValueError(f"the reward model's value is {value}")
    return Verdict(0.5 + 0.5 * math.tanh((value - centre) / scale / 2), {"value": value})


def serve(args: Mapping[str, Any], served: Mapping[str, Model]) -> RewardModel:
    """The head that the run serves. Raises ConfigError where it serves none of that name."""
    config = build(Config, args, "reward_model.args")
    return RewardModel(config, named(served, config.served, "reward_model.args.served"))


class RewardModel:
    gold: Sequence[Case] | None = None  # what a head prefers is its own affair

    def __init__(self, config: Config, model: Model) -> None:
        self._config, self._calls = config, 0

        def counted(rollouts: Sequence[Rollout]) -> list[float]:
            self._calls += 1
            return [float(value) for value in model(rollouts)]

        self._batches = Batches[Rollout, float](counted, config.batch, config.deadline_s)

    async def judge(self, rollout: Rollout) -> Verdict:
        value = await self._batches.ask(rollout)
        return verify(rollout.prompt, rollout, value=value, centre=self._config.centre, scale=self._config.scale)

    def metrics(self) -> Mapping[str, float]:
        return {"calls": float(self._calls)}

    async def close(self) -> None:
        """The head belongs to the run."""


GOLD = [
    Case("a good answer", None, args={"value": 40.0, "centre": 0.0, "scale": 1.0}),
    Case("an answer", None, score=(0.5, 0.5), args={"value": 2.0, "centre": 2.0, "scale": 3.0}),
    Case("a bad answer", None, equal=False, args={"value": -2.0, "centre": 0.0, "scale": 1.0}),
]
