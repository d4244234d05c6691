"""The settings of a policy-gradient algorithm, with their bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rl.config import ConfigError
from rl.messages import RewardAt

Clause = Literal["shapes", "cuts", "order", "zero", "mask", "finite", "groups", "inputs", "repeats"]
"""A clause of the contract of an advantage or a loss; `rl.algorithms.contract` says what each asks."""


@dataclass(frozen=True, slots=True)
class Importance:
    """Correction of the mismatch between the policy that wrote the samples and the policy before the update: each term is
    weighed by r = trainer / engine probability, bounded."""

    level: Literal["token", "sequence", "geometric"] = "token"
    """The ratio r: each token's, the product over its sequence, or the geometric mean over its sequence, which leaves
    sequences out and weighs none."""
    low: float = 0.0
    """Lower bound of r, at most 1; 0 is none."""
    high: float | None = None
    """Upper bound of r, at least 1; null is none."""
    outside: Literal["clip", "mask"] = "clip"
    """Treatment of a term whose r lies outside: `clip` weighs it by the bound (truncated importance sampling), `mask` leaves
    it out, and it still counts in the mean (IcePop by token, masked importance sampling by sequence)."""

    def __str__(self) -> str:
        high = "null" if self.high is None else f"{self.high:g}"
        return f"{{level: {self.level}, low: {self.low:g}, high: {high}, outside: {self.outside}}}"

    def validate(self, place: str) -> None:
        """Raise ConfigError where the bounds hold nothing or leave out a ratio of 1, where trainer and engine agree."""
        is_mask = self.outside == "mask"
        for name, ok, fix in (
            ("low", 0 <= self.low <= 1, "it must lie in [0, 1], where 0 means no lower bound"),
            ("high", self.high is None or self.high >= 1, "it must be at least 1, or null for no upper bound"),
            ("high", self.low > 0 or self.high is not None, "nothing is bounded; set high, such as 2.0, or low"),
            ("high", self.low != self.high, f"low is {self.low:g} too; leave room between them"),
            ("outside", is_mask or self.level != "geometric", "a geometric mean weighs nothing; set outside: mask"),
        ):
            if not ok:
                raise ConfigError(f"{place}.{name}: got {_in_yaml(getattr(self, name))}; {fix}".lstrip("."))


@dataclass(frozen=True, slots=True)
class Objective:
    """Settings of a policy-gradient algorithm. The defaults are PPO (Schulman et al. 2017, arXiv 1707.06347) with a critic,
    the reward at the last token and no KL penalty."""

    advantage: str = "gae"
    """Advantage estimator: a name that `rl algorithms list` shows (`verl/opo` among them), or `pkg.mod:fn`."""
    policy_loss: str = "ppo_clip"
    """Policy loss: a name that `rl algorithms list` shows (`verl/sapo` among them), or `pkg.mod:fn`."""
    normalise: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    """Mean of the loss over an optimiser step: over all its actions (DAPO, arXiv 2503.14476), over each sequence's actions
    and then over sequences (GRPO, arXiv 2402.03300), or the sum over sequences times a constant number of tokens (Dr.GRPO,
    arXiv 2503.20783)."""
    critic: bool = True
    """Train a critic, whose values the advantage reads."""
    reward_at: RewardAt = "end"
    """Tokens at which the score is paid: at the `end`; at the ends of the `turns` that earned it, by the rewards of an environment and the
    spans of verifiers that name them (`grounding`: each claim); or where each of these `spans` ends. What none claims is paid
    at the end, so the sum is the same. `grpo`, `rloo` and their kin then compare what is still to come, turn by turn or token by
    token (docs/turns.md)."""
    gamma: float = 1.0
    """Discount per token, γ."""
    lam: float = 1.0
    """λ of generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438)."""
    whiten: bool = True
    """Shift and scale the advantages of the whole batch to mean 0, variance 1."""
    clip_low: float = 0.2
    """The ratio of new to old probability is clipped to [1 - clip_low, 1 + clip_high]; 1 means no lower bound."""
    clip_high: float = 0.2
    """Upper bound of the ratio, 1 + clip_high; above clip_low it is DAPO's clip-higher (arXiv 2503.14476)."""
    dual_clip: float | None = None
    """Bound on ratio times |advantage| where the advantage is negative, ppo_clip only (Ye et al. 2020, arXiv 1912.09729); of a
    loss of verl it is `clip_ratio_c`, and null is verl's own."""
    value_clip: float | None = 0.5
    """Distance that a value may move from the critic's value before the update; 0.5 is verl's default, null is no bound."""
    kl_coef: float = 0.0
    """Weight of the KL divergence from the reference; 0 needs no reference."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Schulman's estimator of the KL divergence (http://joschu.net/blog/kl-approx.html)."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Place of the KL divergence: subtracted from the reward (PPO), or added to the loss (GRPO, arXiv 2402.03300)."""
    teacher_coef: float = 0.0
    """Weight of log(teacher / policy) at each token beside the advantage: on-policy distillation together with a reward. Alone
    it is `advantage: reverse_kl`. Needs a `teacher`."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus (Mnih et al. 2016, arXiv 1602.01783)."""
    importance: Importance | None = None
    """Weigh each term by the ratio of trainer to engine probability, for engines that differ from the trainer or lag behind
    it (docs/algorithms.md, Corrections). A recipe that names neither this nor `importance_cap` has
    `{level: token, high: 2.0, outside: clip}` in bfloat16 and with a `max_lag`, and null elsewhere."""
    importance_cap: tuple[float, float] | float | None = None
    """Short form of `importance` by token. A number c is `{high: c, outside: clip}`, truncated importance sampling
    (https://fengyao.notion.site/off-policy-rl); a pair [low, high] is `{low: low, high: high, outside: mask}` (IcePop, arXiv
    2510.18855, with [0.5, 5])."""
    mask_truncated: bool = False
    """Leave samples that ended at the token limit out of every loss (DAPO's overlong filtering, arXiv 2503.14476). They
    still count in their group's baseline and in the mean."""
    filter_zero_variance: bool = False
    """Drop groups whose samples are all equally right and draw others in their place, in up to 10 rounds (DAPO's dynamic
    sampling, arXiv 2503.14476). The reward's part `accuracy` is compared; the score where no part of that name counts."""
    overlong_buffer: int = 0
    """Tokens before the limit over which the length penalty grows from 0 to `overlong_penalty`; 0 is no penalty (DAPO, eq.
    13)."""
    overlong_penalty: float = 1.0
    """Score that a response of the full length loses."""
    verl: dict[str, object] = field(default_factory=dict[str, object])
    """Settings of a `verl/NAME` function that no other key has, by verl's names: `{dro_beta: 0.1}`."""
    accept: tuple[Clause, ...] = ()
    """Clauses of the contract that your own or verl's advantage or loss may break (`rl algorithms test`): `[cuts]`."""

    def validate(self, place: str) -> None:
        """Raise ConfigError where a field is out of bounds or contradicts another. Names are checked by `presets.objective`."""
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
            ("teacher_coef", self.teacher_coef >= 0, "it must not be negative"),
            (
                "importance_cap",
                self._has_sound_cap(),
                "it must be a number of at least 1, a pair [low, high] around 1, or null",
            ),
            ("overlong_buffer", self.overlong_buffer >= 0, "it must not be negative"),
            ("overlong_penalty", self.overlong_penalty > 0, "it must be above 0; overlong_buffer: 0 turns it off"),
            # Rules between fields.
            (
                "dual_clip",
                not self.dual_clip or self.policy_loss == "ppo_clip" or self.policy_loss.startswith("verl/"),
                "only policy_loss: ppo_clip has one",
            ),
            (
                "verl",
                not self.verl or "verl/" in (self.advantage[:5], self.policy_loss[:5]),
                "neither advantage nor policy_loss is verl's; remove it",
            ),
            *self._rules_of_distillation(),
            ("kl_estimator", not k1_in_loss, "in the loss its gradient has mean zero; set k2 or k3, or kl_in: reward"),
            ("importance_cap", not self.importance_cap or self.policy_loss != "nll", "nll has no engine; remove it"),
            ("importance", not self.importance or self.policy_loss != "nll", "nll has no engine; remove it"),
            (
                "importance_cap",
                self.importance is None or self.importance_cap is None,
                f"importance says it too: {self.importance}; remove one of them",
            ),
        ):
            if not ok:
                raise ConfigError(f"{place}.{name}: got {getattr(self, name)}; {fix}".lstrip("."))

    def _rules_of_distillation(self) -> list[tuple[str, bool, str]]:
        """Return (field, whether it is sound, the fix) of fields that an advantage without a reward leaves no meaning."""
        alone = self.advantage == "reverse_kl"
        unread = "reverse_kl reads no reward; remove it, or use another advantage with a teacher_coef"
        return [
            ("teacher_coef", not (alone and self.teacher_coef), "reverse_kl is the teacher alone; remove it"),
            # Shifted to mean 0, some tokens of a policy that agrees with its teacher would still be pushed away.
            (
                "whiten",
                not (alone and self.whiten),
                "whitened, a policy that agrees with its teacher moves on; set it false (algorithm: opd)",
            ),
            ("reward_at", not alone or self.reward_at == "end", unread),
            ("overlong_buffer", not (alone and self.overlong_buffer), unread),
            # A group is no worse to learn from where its answers are all right, or all wrong.
            ("filter_zero_variance", not (alone and self.filter_zero_variance), unread),
            ("kl_coef", not (alone and self.kl_coef and self.kl_in == "reward"), f"{unread}, or set kl_in: loss"),
        ]

    @property
    def correction(self) -> Importance | None:
        """The bounds on trainer / engine that `importance` says, or its short form `importance_cap`; None: no correction."""
        cap = self.importance_cap
        if self.importance is not None or cap is None:
            return self.importance
        if isinstance(cap, tuple):
            return Importance("token", low=cap[0], high=cap[1], outside="mask")
        return Importance("token", high=cap, outside="clip")

    def _has_sound_cap(self) -> bool:
        """Return whether `importance_cap` is in bounds. They have 1 within them, as those of `importance`: else it
        would leave everything out where trainer and engine agree, or weigh all of it less."""
        cap = self.importance_cap
        if isinstance(cap, tuple):
            return 0 <= cap[0] <= 1 <= cap[1] and cap[0] < cap[1]
        return cap is None or cap >= 1


def _in_yaml(value: object) -> str:
    return "null" if value is None else str(value)
