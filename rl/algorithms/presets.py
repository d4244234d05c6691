"""Named algorithms: each a handful of differences from PPO as in `Objective()`, with its paper. Readable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rl.algorithms.advantages import ADVANTAGES
from rl.algorithms.objective import Objective
from rl.algorithms.policy_losses import POLICY_LOSSES
from rl.algorithms.registry import check_call, check_name, columns_read
from rl.config import ConfigError, build, did_you_mean

ADVANTAGE_PARAMETERS = ("batch", "objective")
POLICY_LOSS_PARAMETERS = ("logprobs", "batch", "objective")
"""Positional parameters of the functions in the two registries."""

_CRITICLESS: dict[str, Any] = {"critic": False, "whiten": False}
_GRPO = _CRITICLESS | {"advantage": "grpo", "normalise": "sequence_mean", "kl_in": "loss", "kl_estimator": "k3"}

# Papers' KL coefficients are left at 0, so that no preset needs a reference model: setting `kl_coef` alone gives the
# paper's KL, in its place and with its estimator.
ALGORITHMS: dict[str, dict[str, Any]] = {
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
    # MiniMax-M1 2025, arXiv 2506.13585: no lower bound; the upper one is tuned but not told, 0.28 is DAPO's
    "cispo": _GRPO | {"policy_loss": "cispo", "normalise": "token_mean", "clip_low": 1.0, "clip_high": 0.28},
}


def objective(name: str, overrides: Mapping[str, object], place: str) -> Objective:
    """Return the algorithm `name` with `overrides` on top, checked whole. Raises ConfigError."""
    if name not in ALGORITHMS:
        raise ConfigError(f"{place}: unknown algorithm '{name}'{did_you_mean(name, ALGORITHMS)}")
    built = build(Objective, {**ALGORITHMS[name], **overrides}, place)
    check_name(built.advantage, ADVANTAGES, f"{place}.advantage", ADVANTAGE_PARAMETERS)
    check_name(built.policy_loss, POLICY_LOSSES, f"{place}.policy_loss", POLICY_LOSS_PARAMETERS)
    reads_values = "values" in columns_read(built.advantage, ADVANTAGES, f"{place}.advantage")
    if reads_values and not built.critic:
        raise ConfigError(f"{place}.critic: got False; advantage '{built.advantage}' needs values; set critic: true")
    if built.critic and not reads_values and built.advantage in ADVANTAGES:
        raise ConfigError(f"{place}.critic: advantage '{built.advantage}' reads no values; set critic: false")
    return built


def columns(objective: Objective) -> frozenset[str]:
    """Return the columns that an algorithm needs of a batch beside rewards and values: `old` (logprobs before the update)
    and `ref` (logprobs under the reference). Raises ConfigError."""
    names = columns_read(objective.advantage, ADVANTAGES, "advantage")
    names |= columns_read(objective.policy_loss, POLICY_LOSSES, "policy_loss")
    if objective.kl_coef:
        names |= {"ref"}
    if objective.kl_coef and objective.kl_in == "reward":
        names |= {"old"}
    return names - {"values"}


def check_imports(objective: Objective, place: str) -> None:
    """Import the user's functions that the objective names, so that a run does not find at its first step what cannot be
    imported or called. Raises ConfigError."""
    check_call(objective.advantage, ADVANTAGES, f"{place}.advantage", ADVANTAGE_PARAMETERS)
    check_call(objective.policy_loss, POLICY_LOSSES, f"{place}.policy_loss", POLICY_LOSS_PARAMETERS)
