"""Estimates of KL(policy || reference) from single actions: http://joschu.net/blog/kl-approx.html.

Shape legend: A actions, laid end to end. Actions are drawn from the policy. Written with tensor methods alone, so that
importing it needs no torch.

As a value: k1 is unbiased and noisy, k2 biased with little noise, k3 unbiased with little noise. As a loss the gradient
counts, and autograd sees the estimate, not the distribution the actions were drawn from: on-policy, k2's gradient is
the true gradient of KL(policy || reference), k3's that of KL(reference || policy), and k1's has mean zero. There is no
straight-through mixture (verl's `k3+`: the value of k3 over the gradient of k2): choose k2 for that gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


def k1(logprobs_A: Tensor, ref_A: Tensor) -> Tensor:
    """Return [A] log(policy / reference)."""
    return logprobs_A - ref_A


def k2(logprobs_A: Tensor, ref_A: Tensor) -> Tensor:
    """Return [A] half the squared log ratio."""
    return 0.5 * (logprobs_A - ref_A).square()


def k3(logprobs_A: Tensor, ref_A: Tensor) -> Tensor:
    """Return [A] r - 1 - log r with r = reference / policy."""
    # Clamped as in verl: an action that is likely under the reference and not under the policy would overflow exp. Where
    # a clamp takes effect the gradient is 0.
    log_ratio_A = (ref_A - logprobs_A).clamp(-20.0, 20.0)
    return (log_ratio_A.exp() - log_ratio_A - 1).clamp(-10.0, 10.0)


def kl(logprobs_A: Tensor, ref_A: Tensor, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    """Return [A] the estimate of that name."""
    return {"k1": k1, "k2": k2, "k3": k3}[estimator](logprobs_A, ref_A)
