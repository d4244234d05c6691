"""The critic's loss, as terms per action, and how much of the returns it explains.

Shape legend: A actions, laid end to end. Terms are not reduced: the caller weighs them over the whole optimiser step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def value_loss(
    values_A: Tensor, old_values_A: Tensor, returns_A: Tensor, value_clip: float | None
) -> tuple[Tensor, Tensor]:
    """Half the squared error [A], pessimistic between the new value and the new value held within `value_clip` of the
    old one; and 1.0 where the held one counts, so that the gradient is 0 [A]. As in verl, from
    https://github.com/openai/baselines (ppo2)."""
    error_A = (values_A - returns_A).square()
    if value_clip is None:
        return 0.5 * error_A, error_A.new_zeros(error_A.shape)
    held_A = values_A.clamp(old_values_A - value_clip, old_values_A + value_clip)
    held_error_A = (held_A - returns_A).square()
    return 0.5 * error_A.maximum(held_error_A), (held_error_A > error_A).to(error_A.dtype)


def explained_variance(values_A: Tensor, returns_A: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns): 1 is perfect, 0 as good as a constant, below 0 worse. 0 where the
    returns do not vary: there is nothing to explain."""
    values_A, returns_A = values_A.detach().double(), returns_A.detach().double()
    spread = float(returns_A.var(correction=0))
    return 1 - float((returns_A - values_A).var(correction=0)) / spread if spread else 0.0
