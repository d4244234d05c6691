"""Advantage estimators: token-level rewards in, one advantage and one return for each action out.

Shape legend: N sequences, A actions of all sequences laid end to end, G groups; `actions_N` counts the actions of each
sequence (at least one). Nothing is padded. Each estimator is a pure function of tensors (`gae_advantages`, …) that can be
checked by hand, and a function of a `Batch` (`gae`, …) that stands in `ADVANTAGES`. Written with tensor methods alone, so
that the registry can be listed without importing torch.

Checked against verl.trainer.ppo.core_algos. Deliberate differences: means and deviations of groups are taken in
float64 (in float32 a group of equal fractional scores gets advantages of up to 0.15, rounding noise over rounding
noise), a batch of one action is whitened to 0 (verl raises), and critic-less returns are returns, not a copy of the
advantages.

A sample with nothing to be compared with has advantage 0 (verl gives it its raw score, which rewards it for being alone):
one whose group has no other sample, be it that its peers' verdicts erred or that only one was drawn, and with
`reinforce++`, which compares returns over the batch, the only sample of a batch. It counts in no mean and no deviation
either, so the other samples' advantages are those that they have without it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from rl.algorithms import verl_bridge, verl_source
from rl.algorithms.kl import kl
from rl.algorithms.objective import Objective
from rl.algorithms.places import rewards_to_come
from rl.algorithms.registry import resolve
from rl.config import ConfigError
from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

GROUP_EPSILON = 1e-6  # as in verl
WHITEN_EPSILON = 1e-8  # as in verl


def estimate(batch: Batch, objective: Objective, max_tokens: int | None = None) -> Batch:
    """Return the batch with `rewards`, `advantages` and `returns`. It must be the whole batch, since groups and whitening
    span it. `max_tokens` is the limit on a sequence's length, prompt included; needed with an overlong buffer.
    Raises ConfigError if a user's estimator cannot be found or returns something else."""
    batch = batch.add(rewards=token_rewards(batch, objective, max_tokens))
    with_advantages = find_estimator(objective.advantage)(batch, objective)
    if not isinstance(cast(object, with_advantages), Batch):
        raise ConfigError(
            f"advantage '{objective.advantage}': returned {type(with_advantages).__name__}; return a Batch"
        )
    advantages_A = with_advantages.advantages_A  # raises here if the estimator added none
    if objective.whiten:
        advantages_A = _whiten_compared(advantages_A, batch, objective.advantage)
    if objective.teacher_coef:
        # After whitening, whose mean and scale would depend on how far the teacher is away.
        advantages_A = advantages_A + objective.teacher_coef * teacher_advantages(batch).to(advantages_A.dtype)
    return with_advantages.add(advantages=advantages_A)


def find_estimator(name: str) -> Estimator:
    """Return the estimator of that name: ours, verl's or the user's, which is imported. Raises ConfigError."""
    if verl_source.is_verl(name):
        return verl_bridge.estimator(name)
    return resolve(name, ADVANTAGES, "advantage")


def token_rewards(batch: Batch, objective: Objective, max_tokens: int | None = None) -> Tensor:
    """Return [A] the score (minus the length penalty) at each last action, but for what is placed at actions before, minus
    kl_coef × KL(old || reference) at every action if the KL penalty is in the reward."""
    actions_N, scores_N = batch.actions_N, batch.scores_N
    assert bool((actions_N > 0).all()), "a sequence without actions has nowhere to put its reward"
    if objective.overlong_buffer:
        assert max_tokens is not None, "the overlong buffer ends at max_tokens"
        # DAPO counts the response's tokens. Here limit and length both include the prompt, which cancels out.
        scores_N = scores_N + objective.overlong_penalty * overlong_penalty(
            batch.lengths_N, max_tokens, objective.overlong_buffer
        )
    # A score judges the whole response, so it is the reward of its last action: Ouyang et al. 2022, arXiv 2203.02155.
    rewards_A = batch.rollout_logprobs_A.new_zeros(batch.rollout_logprobs_A.shape)
    if batch.has("placed"):
        # The last action gets what is left, so that a sequence's rewards sum to its score wherever they are paid.
        scores_N = scores_N - _sums(batch.placed_A, actions_N)
        rewards_A += batch.placed_A
    rewards_A[actions_N.cumsum(0) - 1] += scores_N.to(rewards_A.dtype)
    if objective.kl_in == "reward" and objective.kl_coef:
        rewards_A -= objective.kl_coef * kl(batch.old_A, batch.ref_A, objective.kl_estimator)
    return rewards_A


def overlong_penalty(actions_N: Tensor, max_tokens: int, buffer: int) -> Tensor:
    """Return [N] in [-1, 0]: 0 up to `max_tokens - buffer` tokens, then falling evenly to -1 at `max_tokens`.
    DAPO eq. 13, arXiv 2503.14476. Raises ConfigError for a buffer that does not fit."""
    if not 0 < buffer <= max_tokens:
        raise ConfigError(f"overlong_buffer: {buffer} tokens do not fit the limit of {max_tokens}; make it smaller")
    return ((max_tokens - buffer - actions_N) / buffer).clamp(-1.0, 0.0)


# Pure functions of tensors


def discounted_sum(x_A: Tensor, actions_N: Tensor, discount: float) -> Tensor:
    """Return [A] y[i] = x[i] + discount × y[i + 1] within each sequence."""
    # Actions from this one to the end of its sequence, both included.
    remaining_A = _repeat(actions_N.cumsum(0), actions_N) - (actions_N.new_ones(x_A.shape).cumsum(0) - 1)
    # Each pass doubles the window that y sums over, so log2(longest) passes do (Hillis and Steele 1986): 16 × 10,240
    # actions take milliseconds, where a loop over time takes half a second.
    y_A, window, longest = x_A.clone(), 1, int(actions_N.max())
    while window < longest:
        # `where`, not a product with the mask: a NaN must stay in its own sequence.
        next_window_A = y_A[window:].where(remaining_A[:-window] > window, 0.0)
        y_A[:-window] += discount**window * next_window_A
        window *= 2
    return y_A


def gae_advantages(
    rewards_A: Tensor, values_A: Tensor, actions_N: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Return advantages [A] and λ-returns [A], the critic's targets. Schulman et al. 2016, arXiv 1506.02438, eq. 16."""
    next_values_A = values_A.roll(-1)
    next_values_A[actions_N.cumsum(0) - 1] = 0.0  # the episode ends with the last action
    # The paper's sum of TD errors, written as the λ-return G = r + γ((1 - λ) V' + λ G') with advantage G - V: the same
    # numbers, but at λ = 1 the targets are exact returns, without the critic's values added and subtracted again.
    returns_A = discounted_sum(rewards_A + gamma * (1 - lam) * next_values_A, actions_N, gamma * lam)
    return returns_A - values_A, returns_A


def group_statistics(scores_N: Tensor, groups_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean and unbiased deviation (float64) and the size of each sequence's group, [N] each; of [N, P] scores, mean
    and deviation at each place [N, P] and the size [N, 1]. A group of one has its own score as mean, and deviation 0."""
    # torch leaves the type of `unique` open.
    unique = cast("tuple[Tensor, Tensor, Tensor]", groups_N.unique(return_inverse=True, return_counts=True))
    _, group_N, size_G = unique
    # [G], or [G, 1] for scores [N, P]: it divides at every place.
    size_G = size_G.reshape(-1, *[1] * (scores_N.ndim - 1))
    # In float32 a group of equal fractional scores has a mean that differs from them by rounding.
    scores_N = scores_N.double()
    zeros_G = scores_N.new_zeros(len(size_G), *scores_N.shape[1:])
    mean_G = zeros_G.index_add(0, group_N, scores_N) / size_G
    squares_G = zeros_G.index_add(0, group_N, (scores_N - mean_G[group_N]).square())
    # Clamped for a group of one, which has squares of 0: 0 / 1, not 0 / 0.
    deviation_G = (squares_G / (size_G - 1).clamp(min=1)).sqrt()
    return mean_G[group_N], deviation_G[group_N], size_G[group_N]


def grpo_advantages(scores_N: Tensor, groups_N: Tensor, by_deviation: bool = True) -> Tensor:
    """Return [N] (or [N, P], place by place) score minus the group's mean, divided by the group's deviation.
    DeepSeekMath, arXiv 2402.03300, section 4.1.2; without the division Dr.GRPO, arXiv 2503.20783."""
    mean_N, deviation_N, _ = group_statistics(scores_N, groups_N)
    centred_N = scores_N - mean_N
    return (centred_N / (deviation_N + GROUP_EPSILON) if by_deviation else centred_N).to(scores_N.dtype)


def rloo_advantages(scores_N: Tensor, groups_N: Tensor) -> Tensor:
    """Return [N] or [N, P] score minus the mean of the *other* scores of its group. Ahmadian et al. 2024, arXiv 2402.14740."""
    mean_N, _, size_N = group_statistics(scores_N, groups_N)
    # score - (sum of the group - score) / (size - 1), with the sum written as mean × size.
    return ((scores_N - mean_N) * size_N / (size_N - 1).clamp(min=1)).to(scores_N.dtype)


def whiten(x_A: Tensor, among_A: Tensor | None = None) -> Tensor:
    """Return [A] the values, shifted to mean 0 and scaled to (unbiased) variance 1 among the entries where `among_A` is
    true (by default all); the others are 0."""
    among_A = x_A.new_ones(x_A.shape).bool() if among_A is None else among_A
    count = int(among_A.sum())
    # float64, because centring equal values in float32 leaves rounding noise that the division would blow up.
    mean = x_A.double().where(among_A, 0.0).sum() / max(count, 1)
    centred_A = (x_A.double() - mean).where(among_A, 0.0)
    variance = centred_A.square().sum() / max(count - 1, 1)
    return (centred_A * (variance + WHITEN_EPSILON).rsqrt()).to(x_A.dtype)


def teacher_advantages(batch: Batch) -> Tensor:
    """Return [A] log(teacher / policy) of each token that the policy wrote: positive where the teacher finds it likelier."""
    # On-policy its mean is -KL(policy || teacher) at each state, and its policy gradient that KL's, exactly: Gu et al. 2023
    # (MiniLLM), arXiv 2306.08543, eq. 3; Agarwal et al. 2023, arXiv 2306.13649. The policy's logprobs are the trainer's from
    # before the update, not the engine's: those carry the rounding that chose the token.
    return batch.teacher_A - batch.old_A


# Functions of a batch, as `ADVANTAGES` names them


def gae(batch: Batch, objective: Objective) -> Batch:
    """Add generalised advantage estimates, arXiv 1506.02438: the only estimator here that reads a critic."""
    advantages_A, returns_A = gae_advantages(
        batch.rewards_A, batch.values_A, batch.actions_N, objective.gamma, objective.lam
    )
    return batch.add(advantages=advantages_A, returns=returns_A)


def grpo(batch: Batch, objective: Objective) -> Batch:
    """Add GRPO's advantages, arXiv 2402.03300: scores standardised within their group."""
    return _compare(batch, objective, grpo_advantages)


def dr_grpo(batch: Batch, objective: Objective) -> Batch:
    """Add Dr.GRPO's advantages, arXiv 2503.20783: scores centred within their group, not divided by its deviation."""
    return _compare(batch, objective, partial(grpo_advantages, by_deviation=False))


def rloo(batch: Batch, objective: Objective) -> Batch:
    """Add leave-one-out advantages, arXiv 2402.14740."""
    return _compare(batch, objective, rloo_advantages)


def reinforce_pp(batch: Batch, objective: Objective) -> Batch:
    """Add REINFORCE++'s advantages, arXiv 2501.03262: the return, whitened over the batch."""
    returns_A = discounted_sum(batch.rewards_A, batch.actions_N, objective.gamma)
    # With one sequence the actions would be compared among themselves: under a discount the last ones look better than
    # the first ones, whatever the score.
    advantages_A = whiten(returns_A) if len(batch) > 1 else returns_A * 0.0
    return batch.add(advantages=advantages_A, returns=returns_A)


def reinforce_pp_baseline(batch: Batch, objective: Objective) -> Batch:
    """Add REINFORCE++-baseline's advantages, arXiv 2501.03262: the group's mean subtracted, whitened over the batch."""
    batch = dr_grpo(batch, objective)
    return batch.add(advantages=_whiten_compared(batch.advantages_A, batch, "reinforce++-baseline"))


def reverse_kl(batch: Batch, objective: Objective) -> Batch:
    """Add the advantages of on-policy distillation, https://thinkingmachines.ai/blog/on-policy-distillation: at each token
    log(teacher / policy), and nothing of what comes after it or of the reward."""
    # A token answers for itself alone. With what follows it the sum would be the KL of whole sequences (MiniLLM), whose noise
    # grows with their length.
    returns_A = discounted_sum(batch.rewards_A, batch.actions_N, objective.gamma)
    return batch.add(advantages=teacher_advantages(batch), returns=returns_A)


Estimator = Callable[[Batch, Objective], Batch]

ADVANTAGES: dict[str, Estimator] = {
    "gae": gae,
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "reinforce++": reinforce_pp,
    "reinforce++-baseline": reinforce_pp_baseline,
    "reverse_kl": reverse_kl,
}

GROUP_ADVANTAGES = {"grpo", "dr_grpo", "rloo", "reinforce++-baseline"}
"""Advantages that compare a sample with others of its prompt."""


def _whiten_compared(advantages_A: Tensor, batch: Batch, advantage: str) -> Tensor:
    """Return [A] the advantages whitened among the samples that the estimator of that name compares with others."""
    if advantage not in GROUP_ADVANTAGES:
        return whiten(advantages_A)
    _, _, size_N = group_statistics(batch.scores_N, batch.groups_N)
    return whiten(advantages_A, _repeat(size_N > 1, batch.actions_N))


def _repeat(x_N: Tensor, actions_N: Tensor) -> Tensor:
    """Return [A] a sequence's entry, repeated at each of its actions."""
    return x_N.repeat_interleave(actions_N)


def _reward_sums(batch: Batch) -> Tensor:
    """Return [N] the sum of each sequence's rewards."""
    return _sums(batch.rewards_A, batch.actions_N)


def _sums(x_A: Tensor, actions_N: Tensor) -> Tensor:
    """Return [N] the sum of each sequence's entries."""
    # The index of each action's sequence: 0 0 0 1 1 … for 3 and 2 actions.
    sequence_A = _repeat(actions_N.new_ones(len(actions_N)).cumsum(0) - 1, actions_N)
    return x_A.new_zeros(len(actions_N)).index_add(0, sequence_A, x_A)


def _compare(batch: Batch, objective: Objective, compare: Callable[[Tensor, Tensor], Tensor]) -> Batch:
    """Add the advantages that `compare` finds for (scores, groups): the same at every action of a sequence, or, where parts of
    the score are paid before its end, place by place (`rl.algorithms.places`). The return is the discounted sum of the rewards
    to come."""
    actions_N, sums_N = batch.actions_N, _reward_sums(batch)
    if batch.has("placed"):
        to_come_NP, place_A = rewards_to_come(batch, sums_N, objective.reward_at)
        sequence_A = _repeat(actions_N.new_ones(len(actions_N)).cumsum(0) - 1, actions_N)
        advantages_A = compare(to_come_NP, batch.groups_N)[sequence_A, place_A].to(sums_N.dtype)
    else:
        advantages_A = _repeat(compare(sums_N, batch.groups_N), actions_N)
    returns_A = discounted_sum(batch.rewards_A, actions_N, objective.gamma)
    return batch.add(advantages=advantages_A, returns=returns_A)
