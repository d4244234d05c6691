"""Layers' inputs that wait in the host's memory for the backward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.activation_offload import offload_inputs
from models.heads import LogprobModel

TOKENS, HIDDEN = 60, 64


def gradient(model: LogprobModel, smallest: int | None) -> tuple[dict[str, torch.Tensor], int]:
    """The gradient of each parameter, and the tensors that were moved."""
    draw = torch.Generator().manual_seed(0)
    tokens_T = torch.randint(0, 256, (TOKENS,), generator=draw)
    pack = tokens_T, torch.tensor([25, 35]), torch.arange(TOKENS) % 25 > 9
    model.zero_grad(set_to_none=True)
    moved = 0
    if smallest is None:
        logprobs_A, _ = model(*pack)
    else:
        with offload_inputs(HIDDEN, torch.device("cpu"), smallest) as total:
            logprobs_A, _ = model(*pack)
        moved = total.moved // (4 * TOKENS * HIDDEN)
    logprobs_A.sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, moved


@pytest.mark.parametrize("checkpointing", [True, False])
def test_gradients_are_the_same(untied: Path, checkpointing: bool) -> None:
    model = LogprobModel(untied, "float32", checkpointing).train()
    expected, _ = gradient(model, None)
    for smallest in (0, 1 << 20):
        found, moved = gradient(model, smallest)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        # With checkpointing the inputs of two layers, and what the last norm keeps.
        assert moved == 0 if smallest else 2 <= moved <= 5 if checkpointing else moved > 5
