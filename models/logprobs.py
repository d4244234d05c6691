"""Logprobs and entropy of given tokens, in chunks: the `A × vocabulary` logits never exist.

Each chunk's logits are made, reduced and dropped; the backward makes them again and adds the head's gradient in place.
Memory beyond the hidden states, the weight and its gradient: two chunks of logits.

Legend: A actions, H hidden size, V vocabulary, C actions of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 96 << 20


def chunked_logprobs(
    hidden_AH: Tensor, weight_VH: Tensor, targets_A: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(logprob of each target, entropy of each distribution), both [A] float32, under
    softmax(hidden @ weightᵀ / temperature). Differentiable in `hidden_AH` and `weight_VH`."""
    return _ChunkedLogprobs.apply(hidden_AH, weight_VH, targets_A, temperature)  # type: ignore[return-value]


def _chunks(actions: int, weight_VH: Tensor) -> tuple[list[slice], Tensor]:
    """Slices of the actions, and two buffers [2, C, V] that serve all of them: fresh ones would cost the system more
    than the arithmetic (half of the time, measured on CPU)."""
    size = min(actions, max(1, CHUNK_BYTES // (4 * len(weight_VH))))
    slices = [slice(i, min(i + size, actions)) for i in range(0, actions, size)]
    return slices, weight_VH.new_empty((2, size, len(weight_VH)), dtype=torch.float32)


def _logits(hidden_CH: Tensor, weight_VH: Tensor, temperature: float, out_CV: Tensor) -> Tensor:
    if weight_VH.dtype == torch.float32:
        torch.mm(hidden_CH, weight_VH.T, out=out_CV)
    else:
        out_CV.copy_(hidden_CH @ weight_VH.T)
    return _scaled(out_CV, temperature)


def _scaled(values_CV: Tensor, temperature: float) -> Tensor:
    return values_CV if temperature == 1.0 else values_CV.div_(temperature)


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_AH: Tensor, weight_VH: Tensor, targets_A: Tensor, temperature: float) -> Any:
        actions = len(targets_A)
        logprobs_A, entropy_A, lse_A = hidden_AH.new_empty((3, actions), dtype=torch.float32)
        chunks, buffers_CV = _chunks(actions, weight_VH)
        for chunk in chunks:
            first_CV, second_CV = buffers_CV[:, : len(targets_A[chunk])]
            logits_CV = _logits(hidden_AH[chunk], weight_VH, temperature, first_CV)
            top_C = logits_CV.amax(1)
            logits_CV.sub_(top_C[:, None])
            mass_CV = torch.exp(logits_CV, out=second_CV)
            total_C = mass_CV.sum(1)
            logprobs_A[chunk] = logits_CV.gather(1, targets_A[chunk, None])[:, 0] - total_C.log()
            entropy_A[chunk] = total_C.log() - torch.einsum("cv,cv->c", mass_CV, logits_CV) / total_C
            lse_A[chunk] = top_C + total_C.log()
        ctx.save_for_backward(hidden_AH, weight_VH, targets_A, lse_A, entropy_A)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return logprobs_A, entropy_A

    @staticmethod
    def backward(ctx: Any, grad_logprobs_A: Tensor | None, grad_entropy_A: Tensor | None) -> Any:  # type: ignore[override]
        hidden_AH, weight_VH, targets_A, lse_A, entropy_A = ctx.saved_tensors
        grad_hidden_AH = torch.zeros_like(hidden_AH)
        grad_weight_VH = torch.zeros_like(weight_VH)
        chunks, buffers_CV = _chunks(len(targets_A), weight_VH)
        for chunk in chunks:
            first_CV, second_CV = buffers_CV[:, : len(targets_A[chunk])]
            grad_CV = _logits(hidden_AH[chunk], weight_VH, ctx.temperature, first_CV).sub_(lse_A[chunk, None])  # log p
            if grad_entropy_A is None:
                grad_CV.exp_().mul_(-grad_logprobs_A[chunk, None])
            else:  # ∂entropy/∂logit = -p (log p + entropy)
                slope_CV = torch.add(grad_CV, entropy_A[chunk, None], out=second_CV)
                slope_CV.mul_(-grad_entropy_A[chunk, None])
                if grad_logprobs_A is not None:
                    slope_CV.sub_(grad_logprobs_A[chunk, None])
                grad_CV.exp_().mul_(slope_CV)
            if grad_logprobs_A is not None:  # ∂logprob/∂logit = onehot - p
                grad_CV.scatter_add_(1, targets_A[chunk, None], grad_logprobs_A[chunk, None])
            grad_CV = _scaled(grad_CV, ctx.temperature).to(weight_VH.dtype)
            torch.mm(grad_CV, weight_VH, out=grad_hidden_AH[chunk])
            grad_weight_VH.addmm_(grad_CV.T, hidden_AH[chunk])
        return grad_hidden_AH, grad_weight_VH, None, None
