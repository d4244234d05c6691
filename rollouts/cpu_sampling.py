"""Draws tokens on CPU from one uniform number each, in the place of vLLM's own draw from V exponentials.

vLLM's CPU sampler fills [N, V] with exponential noise, and each seeded row a second time, serially: at 64 sequences and a
vocabulary of 49,152 that was 175 of 344 ms of a decoding step of a model of 135M parameters. The cumulative distribution
and one uniform number a row draw from the same distribution in 8 ms.

Suffixes: N sequences that the engine decodes at once, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler, apply_top_k_top_p


def draw(probabilities_NV: Tensor, uniforms_N: Tensor) -> Tensor:
    """Return the token [N] at which each row's cumulative distribution passes its uniform number in [0, 1)."""
    # In float64: a float32 sum of 49,152 terms misses 1 by 1e-5, and the last tokens would be too rare or too likely.
    cumulative_NV = probabilities_NV.cumsum(-1, dtype=torch.float64)
    # Scaled by the actual sum, so that a target is always below it.
    targets_N1 = uniforms_N[:, None] * cumulative_NV[:, -1:]
    # `right`: a token of probability 0 repeats the value before it, and to the right of equal values it is never
    # chosen.
    return torch.searchsorted(cumulative_NV, targets_N1, right=True)[:, 0].clamp_(max=probabilities_NV.shape[1] - 1)


class OneDrawSampler(TopKTopPSampler):
    """vLLM's sampler for temperatures above 0, which draws by `draw`. A seeded request's tokens depend on its seed
    alone, as with vLLM's own sampler, but they are other tokens."""

    def forward_cpu(
        self, logits: Tensor, generators: dict[int, torch.Generator], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return (token [N], logits or logprobs [N, V] after top-k and top-p, by `logprobs_mode`). Row i draws from
        `generators[i]` where it has one."""
        logits_NV = apply_top_k_top_p(logits, k, p)
        scores_NV: Tensor | None = None
        if self.logprobs_mode == "processed_logits":
            scores_NV = logits_NV
        elif self.logprobs_mode == "processed_logprobs":
            scores_NV = logits_NV.log_softmax(dim=-1, dtype=torch.float32)
        uniforms_N = torch.rand(len(logits_NV), dtype=torch.float64)
        for row, generator in generators.items():
            uniforms_N[row] = torch.rand((), dtype=torch.float64, generator=generator)
        return draw(logits_NV.softmax(dim=-1, dtype=torch.float32), uniforms_N), scores_NV


def use_one_draw(worker: Any) -> None:
    """Give an engine the sampler above. Runs in vLLM's worker, by `collective_rpc`."""
    sampler = worker.model_runner.sampler
    sampler.topk_topp_sampler = OneDrawSampler(sampler.topk_topp_sampler.logprobs_mode)
