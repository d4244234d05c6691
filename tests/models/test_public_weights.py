"""Weights go to engines under the names, and in the pieces, that a checkpoint of the family has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_supported import save_family

from models.load import load_model, public_weights

MIXTURE = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("gemma3_text", {}),
        ("phi3", {}),
        ("qwen3_moe", {"num_experts": 4, **MIXTURE}),
        ("mixtral", {"num_local_experts": 4, **MIXTURE}),
    ],
)
def test_they_are_those_of_the_file(tmp_path: Path, family: str, more: dict[str, int]) -> None:
    model = load_model(save_family(tmp_path, family, **more))
    parts = [part for name, tensor in model.named_parameters() for part in public_weights(model, name, tensor.detach())]
    stored = load_file(tmp_path / "model.safetensors")
    assert sorted(name for name, _ in parts) == sorted(stored)
    for name, part in parts:
        torch.testing.assert_close(part, stored[name], atol=0, rtol=0)
