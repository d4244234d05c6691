"""What a model weighs: shape.parameters, as the models are known for, and activations, as autograd keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plans import QWEN2_32B, planned

from models.settings import AudioConfig
from models.shape import config_shape, read_shape

pytestmark = pytest.mark.usefixtures("alone")


LLAMA = {"model_type": "llama", "vocab_size": 128256, "num_attention_heads": 32, "num_key_value_heads": 8}
KNOWN = {
    "Qwen2.5-32B": (QWEN2_32B, 32_763_876_352),
    "Qwen2.5-0.5B, tied": (
        {
            **QWEN2_32B,
            "hidden_size": 896,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "intermediate_size": 4864,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        494_032_768,
    ),
    "Llama-3.1-8B, no biases": (
        {**LLAMA, "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336},
        8_030_261_248,
    ),
    "Qwen3-8B, norms of q and k": (
        {
            **LLAMA,
            "model_type": "qwen3",
            "hidden_size": 4096,
            "head_dim": 128,
            "num_hidden_layers": 36,
            "intermediate_size": 12288,
            "vocab_size": 151936,
        },
        8_190_735_360,
    ),
    "Qwen3-30B-A3B, experts": (
        {
            **LLAMA,
            "model_type": "qwen3_moe",
            "hidden_size": 2048,
            "head_dim": 128,
            "num_hidden_layers": 48,
            "num_key_value_heads": 4,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "vocab_size": 151936,
        },
        30_532_122_624,
    ),
    "inside a model that listens": ({"model_type": "audio", "text_config": QWEN2_32B}, 32_763_876_352),
}


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_are_those_that_the_models_are_known_for(name: str) -> None:
    config, parameters = KNOWN[name]
    shape = config_shape(config)
    assert shape is not None
    assert parameters == shape.parameters


GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}


@pytest.mark.parametrize(
    ("config", "active"),
    [
        (KNOWN["Llama-3.1-8B, no biases"][0], 32 * (2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336) + 128256 * 4096),
        (GPT2, 12 * (4 * 768 * 768 + 2 * 768 * 3072) + 50257 * 768),  # up and down, no gate
    ],
)
def test_a_token_is_multiplied_with_the_matrices_that_there_are(config: dict[str, Any], active: int) -> None:
    shape = config_shape(config)
    assert shape is not None
    assert shape.active == active


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "heads": 4, "kv_heads": 2, "ffn_size": 100},
        {"audio": AudioConfig(mel_bins=16, hidden_size=36, layers=3, heads=2, adapter_size=50)},
    ],
)
def test_a_built_model_has_the_parameters_that_were_planned(changes: dict[str, Any], tmp_path: Path) -> None:
    from models.load import build
    from models.settings import BuildConfig, ModelConfig

    config = BuildConfig(**{"hidden_size": 128, "layers": 2, **changes})
    folder = build(config, tmp_path / "model", 0)
    by_formula, counted = read_shape(ModelConfig(build=config)), read_shape(ModelConfig(path=str(folder)))
    assert by_formula is not None
    assert by_formula == counted


def test_a_name_of_the_hub_is_looked_up_in_its_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen2.5-32B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(QWEN2_32B))
    assert planned(model={"path": "Qwen/Qwen2.5-32B"}).model == "32.8B parameters, Qwen/Qwen2.5-32B, float32"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_autograd_keeps(dtype: Any, checkpointing: bool, tmp_path: Path) -> None:
    import torch

    from models.heads import ValueModel
    from models.load import build
    from models.settings import BuildConfig

    config, tokens = BuildConfig(hidden_size=256, layers=3, heads=4, kv_heads=2, ffn_size=640), 1024
    model = ValueModel(build(config, tmp_path / "model", 0), dtype, checkpointing).train()
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    lengths_N, action_mask_T = torch.tensor([256] * 4), torch.ones(tokens, dtype=torch.bool)
    action_mask_T[::256] = False
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        values_A = model(torch.zeros(tokens, dtype=torch.long), lengths_N, action_mask_T)
    measured = sum(size for size, _ in kept.values()) / tokens
    assert values_A.requires_grad

    shape = config_shape({**config.shape(), "vocab_size": 300, "model_type": "qwen2"})
    assert shape is not None
    estimate = shape.activations(dtype, "inputs" if checkpointing else "all")
    assert estimate == pytest.approx(measured, rel=0.05)
