"""Weights for the mismatch between the policy that wrote the samples and the policy before the update.

Engines round otherwise than the trainer, and those that run ahead hold older weights. With μ the policy that wrote a token and
π_old the policy before the update, a policy loss multiplied by w(π_old / μ) is the decoupled PPO objective (Hilton et al. 2021,
arXiv 2110.00641, eq. 3): μ is its behaviour policy, π_old its proximal one. Bounding w trades its variance for bias.

Shape legend: N sequences, A actions of all sequences laid end to end. A sequence is never cut into two micro-batches, so products
and means over it do not depend on how a step was cut. Written with tensor methods alone, so that importing it needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rl.algorithms.objective import Importance
from rl.algorithms.ratios import PER_SEQUENCE, bound, over_sequences, sequence_of
from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

SECOND_MOMENT = "importance_squared"
"""Name of the diagnostic of which `add_sample_size` makes the effective sample size."""


def importance_weights(logprobs_A: Tensor, batch: Batch, correction: Importance) -> tuple[Tensor, Tensor]:
    """Return [A] the weights of the terms, and [A] bool where r = trainer / engine lies outside its bounds [low, high].

    - `clip`: r held at the bounds. With `high` alone truncated importance sampling (Yao et al. 2025,
      https://fengyao.notion.site/off-policy-rl; the truncation is Ionides 2008).
    - `mask`: r within, else 0. By token IcePop's M(r) (Ring-1T 2025, arXiv 2510.18855), by sequence masked importance sampling
      (Liu et al. 2025, https://richardli.xyz/rl-collapse).
    - `mask` of the geometric mean: 1 within, else 0, since that mean is no density ratio to weigh by (ibid.)."""
    # Constant weights: the ratio in the loss already carries the gradient of the trainer's probability.
    log_ratio_A = (batch.old_logprobs(logprobs_A) - batch.rollout_logprobs_A).detach()
    if correction.level != "token":
        log_ratio_A = over_sequences(log_ratio_A, batch, mean=correction.level == "geometric")
    # As logs, for a product over thousands of actions need not be finite.
    low = math.log(correction.low) if correction.low else -math.inf
    high = math.inf if correction.high is None else math.log(correction.high)
    outside_A = ~((log_ratio_A >= low) & (log_ratio_A <= high))
    weights_A = bound(log_ratio_A).exp()
    if correction.outside == "clip":
        return weights_A.clamp(correction.low, correction.high), outside_A
    if correction.level == "geometric":
        weights_A = weights_A.new_ones(weights_A.shape)
    # The masked terms stay in the mean, as in IcePop's 1/|y| over all tokens: the rest weighs no more for their absence.
    return weights_A.where(~outside_A, 0.0), outside_A


def diagnose_importance(
    weights_A: Tensor, outside_A: Tensor, batch: Batch, correction: Importance
) -> dict[str, Tensor]:
    """Return the weights and their squares, [A], where they were clipped or masked, [A], and which sequences have such terms,
    [N]."""
    name = "importance_masked" if correction.outside == "mask" else "importance_clipped"
    outside_A = outside_A.double()
    count_N = outside_A.new_zeros(len(batch)).index_add(0, sequence_of(batch), outside_A)
    return {
        "importance": weights_A,
        SECOND_MOMENT: weights_A.double().square(),
        name: outside_A,
        f"{name}{PER_SEQUENCE}": count_N.clamp(max=1.0),
    }


def add_sample_size(report: Mapping[str, float]) -> dict[str, float]:
    """Return a whole update's metrics with `importance_ess` in place of the mean square of the weights: the effective sample
    size as a share of the tokens, (Σw)² / (A Σw²) (Kish 1965). It is 1 where all weights are equal, and 0 where all are 0."""
    metrics = dict(report)
    second = metrics.pop(SECOND_MOMENT, None)
    if second is not None:
        metrics["importance_ess"] = metrics["importance"] ** 2 / second if second else 0.0
    return metrics
