"""Policy losses as terms per action, not reduced: weighted by `action_weights` of the whole optimiser step, their sum
over all micro-batches and ranks is the loss, so the gradient does not depend on how the step was cut up.

Shape legend: N sequences, A actions of all sequences laid end to end. A loss takes the new logprobs [A] (they carry the
gradient), a micro-batch of whole sequences and the objective, and returns terms [A] and diagnostics, each [A] without
gradient: `ratio` (new / old probability), `clipped` (1.0 where the clip took effect) and `approx_kl` (of old || new,
Schulman's k3). A diagnostic whose name ends in `ratios.PER_SEQUENCE` is [N], and its
mean is over sequences. Written with tensor methods alone, so that the registry can be listed without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from rl.algorithms import verl_bridge, verl_source
from rl.algorithms.importance import diagnose_importance, importance_weights
from rl.algorithms.kl import k3, kl
from rl.algorithms.objective import Objective
from rl.algorithms.ratios import bound, over_sequences
from rl.algorithms.registry import resolve
from rl.config import ConfigError
from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

GSPO_LOG_RATIO_BOUND = 10.0  # as in verl; the ratio of a whole sequence is a mean and stays closer to 1


def policy_objective(
    logprobs_A: Tensor, entropy_A: Tensor | None, batch: Batch, objective: Objective
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return all terms of the policy's loss [A], and diagnostics [A]: the named loss, weighted for the gap between trainer
    and engine, plus the KL penalty, minus the entropy bonus. `entropy_A` may be None when its coefficient is 0.
    Raises ConfigError if a user's loss cannot be found or is reduced."""
    loss_A, diagnostics = find_loss(objective.policy_loss)(logprobs_A, batch, objective)
    if loss_A.shape != logprobs_A.shape:
        # A mean over this micro-batch would make the gradient depend on how the step was cut up.
        shape = tuple(loss_A.shape)
        raise ConfigError(
            f"policy_loss '{objective.policy_loss}': returned shape {shape}; return a term for each action"
        )
    # Importance weights correct the expectation over sampled actions, so they multiply the policy's loss and neither KL
    # nor entropy, which are regularisers of the trainer's own policy.
    if objective.correction is not None:
        weights_A, outside_A = importance_weights(logprobs_A, batch, objective.correction)
        loss_A = loss_A * weights_A
        diagnostics = {**diagnostics, **diagnose_importance(weights_A, outside_A, batch, objective.correction)}
    if objective.kl_in == "loss" and objective.kl_coef:
        kl_A = kl(logprobs_A, batch.ref_A, objective.kl_estimator)
        loss_A, diagnostics = loss_A + objective.kl_coef * kl_A, {**diagnostics, "kl": kl_A.detach()}
    # Entropy is reported whenever it was computed, also without a bonus: its collapse is the first thing to look for.
    if entropy_A is not None:
        diagnostics = {**diagnostics, "entropy": entropy_A.detach()}
    if objective.entropy_coef:
        assert entropy_A is not None, "an entropy bonus needs the entropy"
        loss_A = loss_A - objective.entropy_coef * entropy_A
    return loss_A, diagnostics


def find_loss(name: str) -> PolicyLoss:
    """Return the loss of that name: ours, verl's or the user's, which is imported. Raises ConfigError."""
    if verl_source.is_verl(name):
        return verl_bridge.policy_loss(name)
    return resolve(name, POLICY_LOSSES, "policy_loss")


def action_weights(
    actions_N: Tensor, normalise: Literal["token_mean", "sequence_mean", "constant"], constant: int = 1
) -> Tensor:
    """Return [A] the weight of each term of an optimiser step, from the action counts of *all* its sequences: 1/A
    (`token_mean`: DAPO), 1/(N × actions) (`sequence_mean`: GRPO) or 1/(N × constant) (`constant`, the token limit:
    Dr.GRPO)."""
    weights_N = actions_N.double()  # sums above 2^24 are not exact in float32
    if normalise == "token_mean":
        # Every action weighs the same, so long sequences weigh more: DAPO, arXiv 2503.14476, section 3.3.
        weights_N = weights_N * 0 + 1 / weights_N.sum()
    elif normalise == "sequence_mean":
        # Every sequence weighs the same: GRPO, arXiv 2402.03300, eq. 3.
        weights_N = 1 / (weights_N * len(actions_N))
    else:
        # No sequence's own length appears, which removes GRPO's length bias: Dr.GRPO, arXiv 2503.20783.
        weights_N = weights_N * 0 + 1 / (len(actions_N) * constant)
    return weights_N.float().repeat_interleave(actions_N)


def ppo_clip(logprobs_A: Tensor, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Return -min(ratio × advantage, clipped ratio × advantage): Schulman et al. 2017, arXiv 1707.06347, eq. 7; with
    unequal bounds DAPO's clip-higher, arXiv 2503.14476; with `dual_clip` c, at most c × |advantage| where the
    advantage is negative, Ye et al. 2020, arXiv 1912.09729, eq. 5."""
    old_A, advantages_A = batch.old_logprobs(logprobs_A), batch.advantages_A
    ratio_A = bound(logprobs_A - old_A).exp()
    loss_A, clipped_A = _pessimistic(ratio_A, advantages_A, objective)
    # Where the advantage is negative the plain clip has no upper bound: a ratio of 100 would weigh 100 times. verl always
    # bounds it, with c = 3.
    if objective.dual_clip is not None:
        ceiling_A = -advantages_A * objective.dual_clip
        dual_A = (advantages_A < 0) & (loss_A > ceiling_A)
        loss_A, clipped_A = ceiling_A.where(dual_A, loss_A), clipped_A | dual_A
    return loss_A, _diagnose(logprobs_A, old_A, ratio_A, clipped_A)


def gspo(logprobs_A: Tensor, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Return PPO's clip on the sequence's ratio, the geometric mean of its actions' ratios: Zheng et al. 2025, arXiv
    2507.18071, as GSPO-token (eq. 14), whose value is the sequence's and whose gradient stays at each action."""
    old_A = batch.old_logprobs(logprobs_A)
    # Log of the geometric mean, the paper's s_i(θ).
    mean_gap_A = over_sequences((logprobs_A - old_A).detach(), batch, mean=True)
    # logprobs - logprobs.detach() is 0 and has the gradient of this action's logprob alone.
    ratio_A = (mean_gap_A + logprobs_A - logprobs_A.detach()).clamp(max=GSPO_LOG_RATIO_BOUND).exp()
    loss_A, clipped_A = _pessimistic(ratio_A, batch.advantages_A, objective)
    return loss_A, _diagnose(logprobs_A, old_A, ratio_A, clipped_A)


def cispo(logprobs_A: Tensor, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Return REINFORCE's terms, weighted by the clipped ratio without its gradient: no action's gradient is ever dropped,
    so `clipped` here means a weight held at its bound. MiniMax-M1 2025, arXiv 2506.13585, eq. 4 and 5."""
    old_A = batch.old_logprobs(logprobs_A)
    # Detached: the gradient flows through logprobs_A in the product below, also where the weight is clipped.
    ratio_A = bound(logprobs_A - old_A).exp().detach()
    weight_A = ratio_A.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    return -weight_A * batch.advantages_A * logprobs_A, _diagnose(logprobs_A, old_A, ratio_A, ratio_A != weight_A)


def reinforce(logprobs_A: Tensor, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Return -advantage × logprob, without a clip: Williams 1992, https://doi.org/10.1007/BF00992696."""
    old_A = batch.old_logprobs(logprobs_A)
    ratio_A = bound(logprobs_A - old_A).exp()
    # The ratio is for the diagnostics alone: it shows how far the policy has moved without a clip.
    return -batch.advantages_A * logprobs_A, _diagnose(logprobs_A, old_A, ratio_A, ratio_A.new_zeros(ratio_A.shape))


def nll(logprobs_A: Tensor, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Return -logprob, the loss of supervised training. Needs no advantages, and has no ratio to report."""
    return -logprobs_A, {}


if TYPE_CHECKING:
    PolicyLoss = Callable[[Tensor, Batch, Objective], tuple[Tensor, dict[str, Tensor]]]

POLICY_LOSSES: dict[str, PolicyLoss] = {
    "ppo_clip": ppo_clip,
    "gspo": gspo,
    "cispo": cispo,
    "reinforce": reinforce,
    "nll": nll,
}


def _pessimistic(ratio_A: Tensor, advantages_A: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """Return the larger of the plain and the clipped loss [A], and where that is the clipped one [A] bool."""
    plain_A = -advantages_A * ratio_A
    clipped_A = -advantages_A * ratio_A.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    # The larger loss is the paper's min of the two objectives. Where the clipped one is larger the ratio is a constant at
    # its bound and has no gradient; at a tie (inside the bounds) torch splits the gradient between two equal branches.
    return plain_A.maximum(clipped_A), clipped_A > plain_A


def _diagnose(logprobs_A: Tensor, old_A: Tensor, ratio_A: Tensor, clipped_A: Tensor) -> dict[str, Tensor]:
    """Return the diagnostics of a loss that has a ratio, each [A] without gradient."""
    return {
        "ratio": ratio_A.detach(),
        "clipped": clipped_A.to(logprobs_A.dtype),  # a mean over actions of this is the clip fraction
        # The actions were drawn from the old policy, so it stands first: KL(old || new).
        "approx_kl": k3(old_A, logprobs_A.detach()),
    }
