"""Computes `models.logprobs.chunked_logprobs` over slices of the vocabulary, for GPUs.

Each slice has all actions: so the head's gradient is one product a slice, added up in float32 and rounded once, and its
weight is read once. The logits are float32. Over a slice's logits goes one kernel (`models.logit_kernels`), in place of a
pass for each step of the softmax.

Suffixes: A actions, H hidden size, V vocabulary, W words of one slice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.logit_kernels import fold_logits, logits_gradient

SLICE_BYTES = 1 << 30
"""Size of one slice's float32 logits: 32,768 words of 8,192 actions."""
TOP, TOTAL, WEIGHTED, CHOSEN = range(4)
"""Rows of the running sums of an action: its largest logit; Σ mass, where mass = exp(logit - top); Σ mass × (logit - top);
the logit of its target."""
LOWEST = -1e30
"""Largest logit before the first slice. Finite, since 0 × infinity would be NaN."""


def sliced_logprobs(
    hidden_AH: Tensor, weight_VH: Tensor, targets_A: Tensor, temperature: float, cap: float | None
) -> tuple[Tensor, Tensor]:
    """Return what `models.logprobs.chunked_logprobs` does."""
    return _SlicedLogprobs.apply(hidden_AH, weight_VH, targets_A, temperature, cap or 0.0)  # type: ignore[return-value]


def _slices(actions: int, weight_VH: Tensor) -> list[slice]:
    words = len(weight_VH)
    count = -(-words * actions * 4 // SLICE_BYTES)
    # Slices of equal width, a multiple of 128 words: products of other widths are slower on a GPU.
    # `count` is 0 on a rank whose share of a pack has no action; it still needs one slice.
    width = -(-words // max(1, count) // 128) * 128
    return [slice(first, min(first + width, words)) for first in range(0, words, width)]


def _products(hidden_AH: Tensor, weight_WH: Tensor, buffer: Tensor) -> Tensor:
    """Return hidden @ weightᵀ [A, W] in float32, in the memory of `buffer`."""
    out_AW = buffer[: len(hidden_AH) * len(weight_WH)].view(len(hidden_AH), len(weight_WH))
    if weight_WH.dtype == torch.float32:
        return torch.mm(hidden_AH, weight_WH.T, out=out_AW)
    return torch.mm(hidden_AH, weight_WH.T, out_dtype=torch.float32, out=out_AW)


def _add_product(total_AH: Tensor, grad_AW: Tensor, weight_WH: Tensor) -> None:
    """Add grad @ weight to a float32 sum."""
    if weight_WH.dtype == torch.float32:
        total_AH.addmm_(grad_AW, weight_WH)
    else:
        total_AH.add_(torch.mm(grad_AW, weight_WH, out_dtype=torch.float32))


class _SlicedLogprobs(torch.autograd.Function):
    """`sliced_logprobs` for autograd, with a backward of its own: autograd's would keep every slice's logits."""

    @staticmethod
    def forward(
        ctx: Any,  # torch's context, to which anything may be attached
        hidden_AH: Tensor,
        weight_VH: Tensor,
        targets_A: Tensor,
        temperature: float,
        cap: float,
    ) -> tuple[Tensor, Tensor]:
        actions, slices = len(targets_A), _slices(len(targets_A), weight_VH)
        # Made for the widest slice, the first, and used by all: one allocation, and logits of one slice at a time.
        buffer = hidden_AH.new_empty(actions * slices[0].stop, dtype=torch.float32)
        sums_4A = hidden_AH.new_zeros((4, actions), dtype=torch.float32)
        sums_4A[TOP] = LOWEST
        for words in slices:
            logits_AW = _products(hidden_AH, weight_VH[words], buffer)
            fold_logits(logits_AW, targets_A, words.start, temperature, cap, sums_4A)
        log_total_A = sums_4A[TOTAL].log()
        lse_A = sums_4A[TOP] + log_total_A
        # H = -Σ p log p = log total - Σ mass × (logit - top) / total
        entropy_A = log_total_A - sums_4A[WEIGHTED] / sums_4A[TOTAL]
        # Two numbers for each action suffice to compute p again, so no [A, V] tensor is saved.
        ctx.save_for_backward(hidden_AH, weight_VH, targets_A, lse_A, entropy_A)
        ctx.temperature, ctx.cap = temperature, cap
        # The top is subtracted first: the difference of two large numbers that are close to each other is exact.
        return (sums_4A[CHOSEN] - sums_4A[TOP]) - log_total_A, entropy_A

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_logprobs_A: Tensor, grad_entropy_A: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden_AH, weight_VH, targets_A, lse_A, entropy_A = ctx.saved_tensors
        slices = _slices(len(targets_A), weight_VH)
        buffer = hidden_AH.new_empty(len(targets_A) * slices[0].stop, dtype=torch.float32)
        # In the head's own type, as the products below want it: the kernel computes in float32 and rounds once.
        grads = hidden_AH.new_empty(len(buffer))
        rows_4A = torch.stack([lse_A, entropy_A, grad_logprobs_A.float(), grad_entropy_A.float()])
        grad_hidden_AH = torch.zeros_like(hidden_AH, dtype=torch.float32)
        # None if the head is frozen: its gradient would take a third of the work here, and [V, H] of memory.
        grad_weight_VH = torch.empty_like(weight_VH) if ctx.needs_input_grad[1] else None
        for words in slices:
            logits_AW = _products(hidden_AH, weight_VH[words], buffer)
            grad_AW = grads[: logits_AW.numel()].view_as(logits_AW)
            logits_gradient(logits_AW, targets_A, words.start, ctx.temperature, ctx.cap, rows_4A, grad_AW)
            _add_product(grad_hidden_AH, grad_AW, weight_VH[words])
            if grad_weight_VH is not None:
                torch.mm(grad_AW.T, hidden_AH, out=grad_weight_VH[words])
        return grad_hidden_AH.to(hidden_AH.dtype), grad_weight_VH, None, None, None
