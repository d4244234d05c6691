"""Computes logprobs and entropy of given tokens in chunks: the A × V logits never exist at once.

Each chunk's logits are computed, reduced and dropped; the backward computes them again. Memory beyond the hidden states,
the weight and its gradient: two chunks of logits.

This is the way on a CPU; on a GPU `models.sliced_logprobs` cuts the vocabulary, and its logits are float32 whatever the weights
are. Here products of bfloat16 are bfloat16: in float32 the head takes twice the time of an update's (SmolLM2-135M's head, 1,024
actions, one thread: 2.2 s for 1.1 s). Their error in a logprob is 0.001.

Suffixes: A actions, H hidden size, V vocabulary, C actions of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 96 << 20
"""Size of one chunk's float32 logits: 165 actions at a vocabulary of 151,936."""


def chunked_logprobs(
    hidden_AH: Tensor, weight_VH: Tensor, targets_A: Tensor, temperature: float = 1.0, cap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return (logprob of each target, entropy of each distribution), both [A] float32, under
    softmax(hidden @ weightᵀ / temperature). Differentiable in `hidden_AH` and `weight_VH`.

    With a `cap`, the products are bounded by it before the temperature: cap × tanh(product / cap)."""
    if hidden_AH.device.type != "cpu":
        from models.sliced_logprobs import sliced_logprobs  # which wants Triton

        return sliced_logprobs(hidden_AH, weight_VH, targets_A, temperature, cap)
    return _ChunkedLogprobs.apply(hidden_AH, weight_VH, targets_A, temperature, cap)  # type: ignore[return-value]


def _chunks(actions: int, weight_VH: Tensor) -> tuple[list[slice], Tensor]:
    """Return slices of the actions, and two buffers [2, C, V] that serve all of them."""
    # Buffers, because fresh memory for every chunk took as long as the arithmetic (half of the time, on CPU).
    # At least 1: a rank that shares a pack with others may have no action of it.
    size = max(1, min(actions, CHUNK_BYTES // (4 * len(weight_VH))))
    slices = [slice(i, min(i + size, actions)) for i in range(0, actions, size)]
    return slices, weight_VH.new_empty((2, size, len(weight_VH)), dtype=torch.float32)


def _logits(hidden_CH: Tensor, weight_VH: Tensor, temperature: float, cap: float | None, out_CV: Tensor) -> Tensor:
    """Compute a chunk's logits in float32, in place of what `out_CV` holds."""
    if weight_VH.dtype == torch.float32:
        torch.mm(hidden_CH, weight_VH.T, out=out_CV)
    else:
        out_CV.copy_(hidden_CH @ weight_VH.T)  # the product in bfloat16; softmax and its sums need float32
    if cap is not None:
        out_CV.div_(cap).tanh_().mul_(cap)
    return _divide(out_CV, temperature)


def _divide(values_CV: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature, in place."""
    return values_CV if temperature == 1.0 else values_CV.div_(temperature)  # spared at 1: a pass over C × V


class _ChunkedLogprobs(torch.autograd.Function):
    """`chunked_logprobs` for autograd, with a backward of its own: autograd's would keep every chunk's logits."""

    @staticmethod
    def forward(
        ctx: Any,  # torch's context, to which anything may be attached
        hidden_AH: Tensor,
        weight_VH: Tensor,
        targets_A: Tensor,
        temperature: float,
        cap: float | None,
    ) -> tuple[Tensor, Tensor]:
        actions = len(targets_A)
        logprobs_A, entropy_A, lse_A = hidden_AH.new_empty((3, actions), dtype=torch.float32)
        chunks, buffers_CV = _chunks(actions, weight_VH)
        for chunk in chunks:
            first_CV, second_CV = buffers_CV[:, : len(targets_A[chunk])]  # the last chunk is shorter
            logits_CV = _logits(hidden_AH[chunk], weight_VH, temperature, cap, first_CV)
            # log p = logit - logsumexp. With the largest logit taken off first, exp cannot overflow.
            top_C = logits_CV.amax(1)
            logits_CV.sub_(top_C[:, None])
            mass_CV = torch.exp(logits_CV, out=second_CV)
            total_C = mass_CV.sum(1)
            logprobs_A[chunk] = logits_CV.gather(1, targets_A[chunk, None])[:, 0] - total_C.log()
            # H = -Σ p log p = log total - Σ mass · logit / total
            entropy_A[chunk] = total_C.log() - torch.einsum("cv,cv->c", mass_CV, logits_CV) / total_C
            lse_A[chunk] = top_C + total_C.log()
        # Two numbers for each action suffice to compute p again, so no [A, V] tensor is saved.
        ctx.save_for_backward(hidden_AH, weight_VH, targets_A, lse_A, entropy_A)
        ctx.temperature, ctx.cap = temperature, cap
        ctx.set_materialize_grads(False)  # an unused output's gradient comes as None, and its terms are spared
        return logprobs_A, entropy_A

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_logprobs_A: Tensor | None, grad_entropy_A: Tensor | None
    ) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden_AH, weight_VH, targets_A, lse_A, entropy_A = ctx.saved_tensors
        grad_hidden_AH = torch.zeros_like(hidden_AH)
        # None if the head is frozen: its gradient would take a third of the work here, and [V, H] of memory. Otherwise
        # summed in float32: in bfloat16 a sum over 60 chunks would lose the smaller terms.
        grad_weight_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        chunks, buffers_CV = _chunks(len(targets_A), weight_VH)
        for chunk in chunks:
            first_CV, second_CV = buffers_CV[:, : len(targets_A[chunk])]
            # `grad_CV` starts as log p and becomes the gradient of the logits, all in one buffer.
            grad_CV = _logits(hidden_AH[chunk], weight_VH, ctx.temperature, ctx.cap, first_CV)
            # ∂ cap·tanh(x / cap) / ∂x = 1 - tanh²
            slope_of_cap_CV = None if ctx.cap is None else 1 - (grad_CV * (ctx.temperature / ctx.cap)).square_()
            grad_CV.sub_(lse_A[chunk, None])
            if grad_entropy_A is None:
                assert grad_logprobs_A is not None, "backward is called for at least one output"
                grad_CV.exp_().mul_(-grad_logprobs_A[chunk, None])
            else:
                # ∂entropy/∂logit = -p (log p + entropy); the logprob's -p below shares its factor p.
                slope_CV = torch.add(grad_CV, entropy_A[chunk, None], out=second_CV)
                slope_CV.mul_(-grad_entropy_A[chunk, None])
                if grad_logprobs_A is not None:
                    slope_CV.sub_(grad_logprobs_A[chunk, None])
                grad_CV.exp_().mul_(slope_CV)
            if grad_logprobs_A is not None:
                # ∂logprob/∂logit = onehot - p, whose -p is in `grad_CV` already
                grad_CV.scatter_add_(1, targets_A[chunk, None], grad_logprobs_A[chunk, None])
            if slope_of_cap_CV is not None:
                grad_CV.mul_(slope_of_cap_CV)
            grad_CV = _divide(grad_CV, ctx.temperature).to(weight_VH.dtype)
            torch.mm(grad_CV, weight_VH, out=grad_hidden_AH[chunk])
            if grad_weight_VH is not None:
                _add_product(grad_weight_VH, grad_CV.T, hidden_AH[chunk])
        if grad_weight_VH is not None:
            grad_weight_VH = grad_weight_VH.to(weight_VH.dtype)
        return grad_hidden_AH, grad_weight_VH, None, None, None


def _add_product(total_VH: Tensor, left_VC: Tensor, right_CH: Tensor) -> None:
    """Add left @ right to a float32 sum, in place."""
    if left_VC.dtype == torch.float32:
        # A new [V, H] for each chunk would be 545 MB at H = 896 and V = 151,936.
        total_VH.addmm_(left_VC, right_CH)
    else:
        total_VH.add_(left_VC @ right_CH)
