"""The kernels of `models.sliced_logprobs` in Triton: softmax, logprob and entropy in one reading of the logits, and their
gradient in one reading and one writing.

Each is an operator of torch's, so that its cost can be counted where nothing is computed. A cap of 0 is none.

Suffixes: A actions, W words of one slice.
"""
# pyright: basic, reportArgumentType=false
# Triton's language has no types that a checker understands.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

FOLD_BLOCK = 4096
"""Words that a program reads at once. Each program has one action and walks through its slice."""
GRADIENT_BLOCK = 2048
"""Words of one action that a program has."""


@triton.jit
def _bounded(x, cap, HAS_CAP: tl.constexpr):
    # tanh by the logistic function, which every version of Triton has.
    return cap * (2 * tl.sigmoid(2 * x / cap) - 1) if HAS_CAP else x


@triton.jit
def _fold_kernel(
    logits, targets, sums, first, width, actions, temperature, cap, HAS_CAP: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    logits += row * width
    top = tl.load(sums + row)
    total = tl.load(sums + actions + row)
    weighted_sum = tl.load(sums + 2 * actions + row)
    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        inside = columns < width
        x = _bounded(tl.load(logits + columns, mask=inside, other=0.0), cap, HAS_CAP) / temperature
        x = tl.where(inside, x, -float("inf"))
        new_top = tl.maximum(top, tl.max(x, 0))
        mass = tl.exp(x - new_top)
        # Sums so far were taken relative to a smaller top: their mass shrinks by exp(shift), and logit - top moves by
        # the shift.
        shift = top - new_top
        scale = tl.exp(shift)
        weighted_sum = (weighted_sum + total * shift) * scale + tl.sum(tl.where(inside, mass * (x - new_top), 0.0), 0)
        total = total * scale + tl.sum(mass, 0)
        top = new_top
    tl.store(sums + row, top)
    tl.store(sums + actions + row, total)
    tl.store(sums + 2 * actions + row, weighted_sum)
    target = tl.load(targets + row) - first
    is_here = (target >= 0) & (target < width)
    target_logit = tl.load(logits + target, mask=is_here, other=0.0)
    tl.store(sums + 3 * actions + row, _bounded(target_logit, cap, HAS_CAP) / temperature, mask=is_here)


@triton.jit
def _gradient_kernel(
    logits, targets, rows, out, first, width, actions, temperature, cap, HAS_CAP: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    lse = tl.load(rows + row)
    entropy = tl.load(rows + actions + row)
    grad_logprob = tl.load(rows + 2 * actions + row)
    grad_entropy = tl.load(rows + 3 * actions + row)
    product = _bounded(tl.load(logits + row * width + columns, mask=inside, other=0.0), cap, HAS_CAP)
    logprob = product / temperature - lse
    # ∂logprob/∂logit = onehot - p; ∂entropy/∂logit = -p (log p + entropy)
    grad = -tl.exp(logprob) * (grad_logprob + grad_entropy * (logprob + entropy))
    grad = tl.where(columns == tl.load(targets + row) - first, grad + grad_logprob, grad) / temperature
    if HAS_CAP:
        grad = grad * (1 - (product / cap) * (product / cap))
    tl.store(out + row * width + columns, grad.to(out.dtype.element_ty), mask=inside)


@torch.library.custom_op("groundtone::fold_logits", mutates_args=("sums_4A",))
def fold_logits(
    logits_AW: Tensor, targets_A: Tensor, first: int, temperature: float, cap: float, sums_4A: Tensor
) -> None:
    """Add a slice of products to the running sums."""
    actions, width = logits_AW.shape
    if not actions:  # as on a rank whose share of a pack has none
        return
    _fold_kernel[(actions,)](
        logits_AW, targets_A, sums_4A, first, width, actions, temperature, cap or 1.0, HAS_CAP=cap > 0, BLOCK=FOLD_BLOCK
    )


@torch.library.custom_op("groundtone::logits_gradient", mutates_args=("out_AW",))
def logits_gradient(
    logits_AW: Tensor,
    targets_A: Tensor,
    first: int,
    temperature: float,
    cap: float,
    rows_4A: Tensor,
    out_AW: Tensor,
) -> None:
    """Write the gradient of a slice of products to `out_AW`."""
    actions, width = logits_AW.shape
    if not actions:
        return
    grid = (actions, triton.cdiv(width, GRADIENT_BLOCK))
    options = {"HAS_CAP": cap > 0, "BLOCK": GRADIENT_BLOCK}
    _gradient_kernel[grid](
        logits_AW, targets_A, rows_4A, out_AW, first, width, actions, temperature, cap or 1.0, **options
    )


@fold_logits.register_fake
@logits_gradient.register_fake
def _count_only(*_: object, **__: object) -> None:
    """Compute nothing: the operators only write to tensors that exist already."""
