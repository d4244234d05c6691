"""Adapters applied by products are vLLM's own, for any mixture of adapters in a batch."""

from __future__ import annotations

import pytest
import torch
from vllm.lora.ops.torch_ops import lora_ops

from rollouts import cpu_adapters

TOKENS, WIDTH, RANK, OUT, SLOTS = 7, 24, 4, 20, 3
MIXTURES = {"one": [1] * TOKENS, "several": [2, 0, 0, 1, 2, 2, 0]}
THEIRS = (lora_ops.bgmv_shrink, lora_ops.bgmv_expand, lora_ops.bgmv_expand_slice)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_those_of_vllm(mixture: str, dtype: torch.dtype) -> None:
    slots, tolerance = torch.tensor(MIXTURES[mixture]), 1e-5 if dtype == torch.float32 else 2e-2
    inputs = draw(TOKENS, WIDTH, seed=0).to(dtype)
    a, b = draw(SLOTS, 1, RANK, WIDTH, seed=1).to(dtype), draw(SLOTS, 1, OUT, RANK, seed=2).to(dtype) / 4
    shrink, expand, expand_slice = THEIRS
    small, expected = (torch.zeros(TOKENS, RANK + 2) for _ in range(2))  # in float32, as vLLM's buffer is
    cpu_adapters.shrink(inputs, a, small, slots, 0.5)
    shrink(inputs, a, expected, slots, 0.5)
    torch.testing.assert_close(small, expected, atol=1e-5, rtol=1e-5)
    small = small[:, :RANK]
    for add_inputs in (True, False):
        ours, theirs = (draw(TOKENS, OUT + 3, seed=3).to(dtype) for _ in range(2))
        cpu_adapters.expand(small, b, ours, slots, add_inputs)
        expand(small, b, theirs, slots, add_inputs)
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
        cpu_adapters.expand_slice(small, b, ours, slots, 3, OUT, add_inputs)
        expand_slice(small, b, theirs, slots, 3, OUT, add_inputs)
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_a_token_without_an_adapter_gets_nothing() -> None:
    """vLLM's own functions would take the last slot for it."""
    inputs, weights = draw(3, WIDTH, seed=0), draw(SLOTS, OUT, WIDTH, seed=1)
    products = cpu_adapters.apply_adapters(inputs, weights, torch.tensor([-1, 2, -1]), torch.float32)
    assert products[[0, 2]].eq(0).all()
    torch.testing.assert_close(products[1], weights[2] @ inputs[1])
