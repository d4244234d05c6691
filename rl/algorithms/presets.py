"""Named algorithms: each a handful of differences from PPO as in `Objective()`, with its paper. Readable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rl.algorithms.advantages import ADVANTAGES
from rl.algorithms.objective import Objective
from rl.algorithms.policy_losses import POLICY_LOSSES
from rl.algorithms.registry import check_call, check_name
from rl.config import ConfigError, build, did_you_mean

__all__ = ["ALGORITHMS", "Objective", "check_imports", "objective"]

ADVANTAGE_TAKES = ("batch", "objective")
POLICY_LOSS_TAKES = ("logprobs", "batch", "objective")
"""What the two functions are called with."""

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


def objective(name: str, overrides: Mapping[str, Any], place: str) -> Objective:
    """The algorithm `name` with `overrides` on top, checked whole. Raises ConfigError."""
    if name not in ALGORITHMS:
        raise ConfigError(f"{place}: unknown algorithm '{name}'{did_you_mean(name, ALGORITHMS)}")
    built = build(Objective, {**ALGORITHMS[name], **overrides}, place)
    check_name(built.advantage, ADVANTAGES, f"{place}.advantage", ADVANTAGE_TAKES)
    check_name(built.policy_loss, POLICY_LOSSES, f"{place}.policy_loss", POLICY_LOSS_TAKES)
    if built.critic and built.advantage != "gae" and built.advantage in ADVANTAGES:
        raise ConfigError(f"{place}.critic: advantage '{built.advantage}' reads no values; set critic: false")
    return built


def check_imports(goal: Objective, place: str) -> None:
    """Imports what an outsider's objective names, so that a run does not find at its first step what cannot be imported
    or called. Raises ConfigError."""
    check_call(goal.advantage, ADVANTAGES, f"{place}.advantage", ADVANTAGE_TAKES)
    check_call(goal.policy_loss, POLICY_LOSSES, f"{place}.policy_loss", POLICY_LOSS_TAKES)
