"""Logprobs and entropy of given tokens, in chunks: the `A × vocabulary` logits never exist.

Each chunk's logits are made, reduced and dropped; the backward makes them again and adds the head's gradient in place.
Memory beyond the hidden states, the weight and its gradient: about three chunks of logits.

Legend: A actions, H hidden size, V vocabulary, C actions of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 48 << 20


def chunked_logprobs(
    hidden_AH: Tensor, weight_VH: Tensor, targets_A: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(logprob of each target, entropy of each distribution), both [A] float32, under
    softmax(hidden @ weightᵀ / temperature). Differentiable in `hidden_AH` and `weight_VH`."""
    return _ChunkedLogprobs.apply(hidden_AH, weight_VH, targets_A, temperature)  # type: ignore[return-value]


def _chunks(actions: int, vocabulary: int) -> list[slice]:
    size = max(1, CHUNK_BYTES // (4 * vocabulary))
    return [slice(i, min(i + size, actions)) for i in range(0, actions, size)]


def _logits(hidden_CH: Tensor, weight_VH: Tensor, temperature: float) -> Tensor:
    logits_CV = (hidden_CH @ weight_VH.T).float()
    return logits_CV if temperature == 1.0 else logits_CV.div_(temperature)


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_AH: Tensor, weight_VH: Tensor, targets_A: Tensor, temperature: float) -> Any:
        actions = len(targets_A)
        logprobs_A, entropy_A, lse_A = hidden_AH.new_empty((3, actions), dtype=torch.float32)
        for chunk in _chunks(actions, len(weight_VH)):
            logits_CV = _logits(hidden_AH[chunk], weight_VH, temperature)
            chosen_C = logits_CV.gather(1, targets_A[chunk, None])[:, 0]
            lse_A[chunk] = torch.logsumexp(logits_CV, dim=1)
            logprobs_A[chunk] = chosen_C - lse_A[chunk]
            probabilities_CV = torch.exp(logits_CV - lse_A[chunk, None])
            entropy_A[chunk] = lse_A[chunk] - torch.einsum("cv,cv->c", probabilities_CV, logits_CV)
        ctx.save_for_backward(hidden_AH, weight_VH, targets_A, lse_A, entropy_A)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return logprobs_A, entropy_A

    @staticmethod
    def backward(ctx: Any, grad_logprobs_A: Tensor | None, grad_entropy_A: Tensor | None) -> Any:  # type: ignore[override]
        hidden_AH, weight_VH, targets_A, lse_A, entropy_A = ctx.saved_tensors
        grad_hidden_AH = torch.zeros_like(hidden_AH)
        grad_weight_VH = torch.zeros_like(weight_VH)
        for chunk in _chunks(len(targets_A), len(weight_VH)):
            grad_CV = _logits(hidden_AH[chunk], weight_VH, ctx.temperature).sub_(lse_A[chunk, None])  # log p
            if grad_entropy_A is None:
                grad_CV = grad_CV.exp_().mul_(0.0 if grad_logprobs_A is None else -grad_logprobs_A[chunk, None])
            else:  # ∂entropy/∂logit = -p (log p + entropy)
                slope_CV = (grad_CV + entropy_A[chunk, None]).mul_(-grad_entropy_A[chunk, None])
                if grad_logprobs_A is not None:
                    slope_CV.sub_(grad_logprobs_A[chunk, None])
                grad_CV = grad_CV.exp_().mul_(slope_CV)
            if grad_logprobs_A is not None:  # ∂logprob/∂logit = onehot - p
                grad_CV.scatter_add_(1, targets_A[chunk, None], grad_logprobs_A[chunk, None])
            grad_CV = grad_CV.div_(ctx.temperature).to(weight_VH.dtype)
            torch.mm(grad_CV, weight_VH, out=grad_hidden_AH[chunk])
            grad_weight_VH.addmm_(grad_CV.T, hidden_AH[chunk])
        return grad_hidden_AH, grad_weight_VH, None, None
