"""The critic's loss, as terms per action, and the share of the returns' variance that the critic explains.

Shape legend: A actions, laid end to end. Terms are not reduced: the caller weights them over the whole optimiser step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def value_loss(
    values_A: Tensor, old_values_A: Tensor, returns_A: Tensor, value_clip: float | None
) -> tuple[Tensor, Tensor]:
    """Return half the squared error [A], the larger of that of the new value and that of the new value clipped to within
    `value_clip` of the old one; and [A] 1.0 where the clipped one is larger. As in verl, from
    https://github.com/openai/baselines (ppo2)."""
    error_A = (values_A - returns_A).square()
    if value_clip is None:
        return 0.5 * error_A, error_A.new_zeros(error_A.shape)
    clipped_values_A = values_A.clamp(old_values_A - value_clip, old_values_A + value_clip)
    clipped_error_A = (clipped_values_A - returns_A).square()
    # Where the clipped error is larger, the clipped value is a constant (old ± value_clip): no gradient flows.
    return 0.5 * error_A.maximum(clipped_error_A), (clipped_error_A > error_A).to(error_A.dtype)


def explained_variance(values_A: Tensor, returns_A: Tensor) -> float:
    """Return 1 - Var(returns - values) / Var(returns): 1 is perfect, 0 as good as a constant, below 0 worse. 0 where the
    returns do not vary."""
    # float64: both variances may be small differences of large numbers.
    values_A, returns_A = values_A.detach().double(), returns_A.detach().double()
    returns_variance = float(returns_A.var(correction=0))
    if not returns_variance:
        return 0.0  # there is nothing to explain
    return 1 - float((returns_A - values_A).var(correction=0)) / returns_variance
