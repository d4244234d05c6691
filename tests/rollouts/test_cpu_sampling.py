"""Tokens drawn from one uniform number each."""

from __future__ import annotations

import pytest
import torch

from rollouts.cpu_sampling import OneDrawSampler, draw


def test_tokens_come_as_often_as_they_are_probable() -> None:
    """Evenly spaced uniforms meet every token in proportion to its probability, to within one of them."""
    torch.manual_seed(0)
    probabilities_V = torch.randn(5000).mul(3).softmax(0)
    probabilities_V[[0, 17, 4999]] = 0.0
    probabilities_V /= probabilities_V.sum()
    draws = 200_000
    uniforms = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    tokens = torch.cat([draw(probabilities_V.expand(len(part), -1), part) for part in uniforms.split(500)])
    counts_V = torch.bincount(tokens, minlength=5000)
    assert (counts_V - draws * probabilities_V.double()).abs().max() <= 1.0
    assert counts_V[[0, 17, 4999]].tolist() == [0, 0, 0]


def test_the_ends_of_the_interval_meet_tokens_that_can_be_written() -> None:
    probabilities_NV = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).expand(3, -1)
    uniforms_N = torch.tensor([0.0, 0.25, 1.0 - 2**-53], dtype=torch.float64)
    assert draw(probabilities_NV, uniforms_N).tolist() == [1, 3, 3]


@pytest.mark.parametrize("mode", ["processed_logprobs", "processed_logits", "raw_logprobs"])
def test_a_seeded_row_does_not_depend_on_its_neighbours(mode: str) -> None:
    logits_NV = torch.randn(6, 300, generator=torch.Generator().manual_seed(1))
    k_N = torch.full((6,), 20)

    def sample(rows: list[int]) -> tuple[list[int], torch.Tensor | None]:
        generators = {i: torch.Generator().manual_seed(100 + row) for i, row in enumerate(rows)}
        sampler = OneDrawSampler(mode)  # type: ignore[arg-type]
        tokens_N, scores_NV = sampler.forward_cpu(logits_NV[rows].clone(), generators, k_N[rows], None)
        return tokens_N.tolist(), scores_NV

    tokens, scores_NV = sample([0, 1, 2, 3, 4, 5])
    assert sample([4, 2])[0] == [tokens[4], tokens[2]]
    top = logits_NV.topk(20).indices
    assert all(token in top[i] for i, token in enumerate(tokens))  # top-k is vLLM's own, and still holds
    assert (scores_NV is None) == (mode == "raw_logprobs")
    if mode == "processed_logprobs":
        assert scores_NV is not None
        assert scores_NV.exp().sum(-1) == pytest.approx(torch.ones(6))
