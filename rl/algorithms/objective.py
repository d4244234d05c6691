"""What an algorithm maximises, and how: every setting with its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rl.config import ConfigError


@dataclass(frozen=True, slots=True)
class Objective:
    """What is maximised, and how. The defaults are on-policy PPO with a critic, reward at the last token, no KL."""

    advantage: str = "gae"
    """A name in `advantages.ADVANTAGES`, or `pkg.mod:fn`."""
    policy_loss: str = "ppo_clip"
    """A name in `policy_losses.POLICY_LOSSES`, or `pkg.mod:fn`."""
    normalise: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    """Over all actions of the optimiser step, over each sequence's actions and then over sequences, or over sequences
    times a constant number of tokens (Dr.GRPO)."""
    critic: bool = True
    gamma: float = 1.0
    lam: float = 1.0
    whiten: bool = True
    """Shift and scale the advantages of the whole batch to mean 0, variance 1."""
    clip_low: float = 0.2
    """The ratio is clipped to [1 - clip_low, 1 + clip_high]; 1 means no lower bound."""
    clip_high: float = 0.2
    dual_clip: float | None = None
    """Bound on ratio times |advantage| where the advantage is negative (ppo_clip only)."""
    value_clip: float | None = 0.5
    """How far a value may move from the critic's value before the update; 0.5 is verl's default."""
    kl_coef: float = 0.0
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    kl_in: Literal["reward", "loss"] = "reward"
    entropy_coef: float = 0.0
    importance_cap: float | None = None
    """Weigh each term by min(trainer probability / engine probability, cap), for engines that differ from the trainer
    or lag behind it (TIS)."""
    filter_zero_variance: bool = False
    """Drop groups whose scores are all equal and draw others in their place (DAPO's dynamic sampling)."""
    overlong_buffer: int = 0
    """Tokens before the limit over which the punishment for length grows from 0 to `overlong_penalty`; 0: none."""
    overlong_penalty: float = 1.0

    def validate(self, place: str) -> None:
        """Bounds, and rules between fields; raises ConfigError. The names are checked by `presets.objective`."""
        k1_in_loss = bool(self.kl_coef) and (self.kl_in, self.kl_estimator) == ("loss", "k1")
        for name, ok, fix in (
            ("gamma", 0 <= self.gamma <= 1, "it must lie in [0, 1]"),
            ("lam", 0 <= self.lam <= 1, "it must lie in [0, 1]"),
            ("clip_low", 0 <= self.clip_low <= 1, "it must lie in [0, 1], where 1 means no lower bound"),
            ("clip_high", self.clip_high >= 0, "it must not be negative"),
            ("dual_clip", self.dual_clip is None or self.dual_clip > 1, "it must be above 1, or null for none"),
            ("value_clip", self.value_clip is None or self.value_clip > 0, "it must be above 0, or null for none"),
            ("kl_coef", self.kl_coef >= 0, "it must not be negative"),
            ("entropy_coef", self.entropy_coef >= 0, "it must not be negative"),
            ("importance_cap", self.importance_cap is None or self.importance_cap > 0, "it must be above 0, or null"),
            ("overlong_buffer", self.overlong_buffer >= 0, "it must not be negative"),
            ("overlong_penalty", self.overlong_penalty > 0, "it must be above 0; overlong_buffer: 0 turns it off"),
            ("dual_clip", not self.dual_clip or self.policy_loss == "ppo_clip", "only policy_loss: ppo_clip has one"),
            ("kl_estimator", not k1_in_loss, "in the loss its gradient has mean zero; set k2 or k3, or kl_in: reward"),
            ("importance_cap", not self.importance_cap or self.policy_loss != "nll", "nll has no engine; remove it"),
        ):
            if not ok:
                raise ConfigError(f"{place}.{name}: got {getattr(self, name)}; {fix}".lstrip("."))
