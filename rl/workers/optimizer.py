"""The optimizer of a stage: AdamW, and its learning rate over the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rl.config import ConfigError

HIGHEST_RATE = 1e30
"""Learning rate beyond which AdamW's arithmetic in float32 breaks off with an error of its own."""


@dataclass
class OptimizerConfig:
    """AdamW with linear warm-up, then constant or decaying to zero over the stage's steps."""

    learning_rate: float = 1e-6
    """Learning rate after warm-up."""
    warmup_steps: int = 0
    """Optimiser steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Course of the learning rate after warm-up: constant, or falling to 0 at the stage's end."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    gradient_clipping: float = 1.0
    """Gradient norm, over all parameters and ranks, beyond which gradients are scaled down; 0: never."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
        for name in ("learning_rate", "warmup_steps", "weight_decay", "gradient_clipping"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{place}.{name}: must not be negative; got {getattr(self, name)}")
        if self.learning_rate > HIGHEST_RATE:
            raise ConfigError(f"{place}.learning_rate: {self.learning_rate:g} is no learning rate; 1e-6 is a usual one")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"{place}.betas: each must lie in [0, 1); got {list(self.betas)}")

    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of optimiser step `step` (from 0) of `total`."""
        if step < self.warmup_steps:
            # From 1 on: at a rate of 0 the first step would change nothing.
            return self.learning_rate * (step + 1) / self.warmup_steps
        # Below 1 also in the last step, which would change nothing at 1.
        progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        decay = {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}
        return self.learning_rate * decay[self.schedule]
