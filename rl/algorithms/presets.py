"""Named algorithms, each as its differences from PPO (the defaults of `Objective`), with its paper. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from rl.algorithms import verl_source
from rl.algorithms.advantages import ADVANTAGES
from rl.algorithms.objective import Importance, Objective
from rl.algorithms.policy_losses import POLICY_LOSSES
from rl.algorithms.registry import check_call, check_name, columns_read
from rl.config import ConfigError, build, did_you_mean

ADVANTAGE_PARAMETERS = ("batch", "objective")
POLICY_LOSS_PARAMETERS = ("logprobs", "batch", "objective")
"""Positional parameters of the functions in ADVANTAGES and POLICY_LOSSES."""

Setting = str | float | bool | Importance
"""Value of one field of an Objective."""

_CRITICLESS: dict[str, Setting] = {"critic": False, "whiten": False}
_GRPO = _CRITICLESS | {"advantage": "grpo", "normalise": "sequence_mean", "kl_in": "loss", "kl_estimator": "k3"}

# `kl_coef` stays 0 in every preset, so that none needs a reference model. Setting it alone gives the paper's KL, in the
# paper's place and with the paper's estimator.
ALGORITHMS: dict[str, dict[str, Setting]] = {
    # Schulman et al. 2017, arXiv 1707.06347, with the settings of Step-Audio-R1, arXiv 2511.15848
    "ppo": {},
    # DeepSeekMath, Shao et al. 2024, arXiv 2402.03300 (eq. 3; its kl_coef is 0.04)
    "grpo": _GRPO,
    # Ahmadian et al. 2024, arXiv 2402.14740 (the advantage; with PPO's clip it may take several updates a batch)
    "rloo": _CRITICLESS | {"advantage": "rloo"},
    # Hu et al. 2025, arXiv 2501.03262; both whiten in the estimator
    "reinforce++": _CRITICLESS | {"advantage": "reinforce++"},
    "reinforce++-baseline": _CRITICLESS | {"advantage": "reinforce++-baseline", "kl_in": "loss", "kl_estimator": "k2"},
    # Liu et al. 2025, arXiv 2503.20783: no division by the group's deviation, none by the sequence's length
    "dr_grpo": _GRPO | {"advantage": "dr_grpo", "normalise": "constant"},
    # Yu et al. 2025, arXiv 2503.14476. Its overlong_buffer is 4096 of 20480 tokens; it depends on the limit, so set it.
    "dapo": _GRPO | {"normalise": "token_mean", "clip_high": 0.28, "filter_zero_variance": True},
    # Zheng et al. 2025, arXiv 2507.18071 (clips from section 5.1)
    "gspo": _GRPO | {"policy_loss": "gspo", "clip_low": 3e-4, "clip_high": 4e-4},
    # Ring-1T 2025, arXiv 2510.18855: GRPO without the tokens on which trainer and engine disagree
    "icepop": _GRPO | {"importance": Importance("token", low=0.5, high=5.0, outside="mask")},
    # MiniMax-M1 2025, arXiv 2506.13585: no lower bound; the paper does not give its upper one, 0.28 is DAPO's
    "cispo": _GRPO | {"policy_loss": "cispo", "normalise": "token_mean", "clip_low": 1.0, "clip_high": 0.28},
    # On-policy distillation: Agarwal et al. 2023 (GKD), arXiv 2306.13649, with the reverse KL; the reward is measured alone
    "opd": _CRITICLESS | {"advantage": "reverse_kl"},
}
NAMES_ELSEWHERE = {
    "gae": "ppo",
    "reinforce_plus_plus": "reinforce++",
    "reinforce_plus_plus_baseline": "reinforce++-baseline",
    "reinforce": "reinforce++",
    "reinforce_baseline": "reinforce++-baseline",
    "remax": "rloo",
    "bnpo": "dapo",
    "gkd": "opd",
    "minillm": "opd",
    "dpo": "a stage of its own: `- dpo: {…}`",
    "sft": "a stage of its own: `- sft: {…}`",
}
"""Names of algorithms in other libraries -> what is nearest here."""


def algorithm_name(name: str) -> str:
    """Return the algorithm's name as `ALGORITHMS` has it, where only capitals differ."""
    return name.casefold() if name.casefold() in ALGORITHMS else name


def objective(name: str, overrides: Mapping[str, object], place: str) -> Objective:
    """Return the objective of the algorithm `name`, changed by `overrides` and checked. Raises ConfigError."""
    if name not in ALGORITHMS:
        elsewhere = NAMES_ELSEWHERE.get(name.casefold().replace("-", "_"))
        hint = f"; here it is {elsewhere}" if elsewhere else did_you_mean(name, ALGORITHMS)
        raise ConfigError(f"{place}: unknown algorithm '{name}'{hint}")
    preset = ALGORITHMS[name]
    if {"importance", "importance_cap"} & overrides.keys():  # either takes the place of the preset's whole table
        preset = {key: value for key, value in preset.items() if key != "importance"}
    settings = build(Objective, {**preset, **overrides}, place)
    _check_names(settings, place)
    reads_values = "values" in _columns_of_advantage(settings.advantage, f"{place}.advantage")
    if reads_values and not settings.critic:
        raise ConfigError(f"{place}.critic: got False; advantage '{settings.advantage}' needs values; set critic: true")
    # A user's estimator may read values through code that is not seen, so only the others are sure not to.
    is_seen = settings.advantage in ADVANTAGES or verl_source.is_verl(settings.advantage)
    if settings.critic and not reads_values and is_seen:
        raise ConfigError(f"{place}.critic: advantage '{settings.advantage}' reads no values; set critic: false")
    return settings


def _check_names(settings: Objective, place: str) -> None:
    """Raise ConfigError unless advantage and loss are there, without importing them."""
    if verl_source.is_verl(settings.advantage):
        verl_source.find(settings.advantage, "advantage", f"{place}.advantage")
    else:
        check_name(settings.advantage, ADVANTAGES, f"{place}.advantage", ADVANTAGE_PARAMETERS)
    if not verl_source.is_verl(settings.policy_loss):
        return check_name(settings.policy_loss, POLICY_LOSSES, f"{place}.policy_loss", POLICY_LOSS_PARAMETERS)
    loss = verl_source.find(settings.policy_loss, "policy_loss", f"{place}.policy_loss")
    mean = verl_source.FIXED_MEANS.get(loss.name, settings.normalise)
    if mean != settings.normalise:
        raise ConfigError(
            f"{place}.normalise: got {settings.normalise}; verl computes {loss.name} with one mean only; set normalise: {mean}"
        )


def _columns_of_advantage(name: str, place: str) -> frozenset[str]:
    if verl_source.is_verl(name):
        return verl_source.find(name, "advantage", place).columns
    return columns_read(name, ADVANTAGES, place)


def columns(objective: Objective) -> frozenset[str]:
    """Return the columns of a batch that cost another forward pass and that the objective reads: `old` (logprobs before the
    update), `ref` (logprobs under the reference) and `teacher` (under the teacher). Raises ConfigError."""
    names = _columns_of_advantage(objective.advantage, "advantage")
    if not verl_source.is_verl(
        objective.policy_loss
    ):  # verl's take the old logprobs as ours do: those of the update itself
        names |= columns_read(objective.policy_loss, POLICY_LOSSES, "policy_loss")
    if objective.kl_coef:
        names |= {"ref"}
    if objective.kl_coef and objective.kl_in == "reward":
        names |= {"old"}
    if objective.teacher_coef:
        names |= {"teacher", "old"}
    return names - {"values"}  # `critic` decides on these


def check_imports(objective: Objective, place: str) -> None:
    """Import the user's functions that the objective names. Raises ConfigError for one that cannot be imported or called:
    better now than at a run's first step."""
    if not verl_source.is_verl(objective.advantage):
        check_call(objective.advantage, ADVANTAGES, f"{place}.advantage", ADVANTAGE_PARAMETERS)
    if not verl_source.is_verl(objective.policy_loss):
        check_call(objective.policy_loss, POLICY_LOSSES, f"{place}.policy_loss", POLICY_LOSS_PARAMETERS)
