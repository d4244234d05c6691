"""The planner's figures against counts: parameters and a micro-batch's memory on tensors of the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from meta_memory import peak_bytes, shaped_model

from models.shape import config_shape
from rl.planning.trainer_memory import Settings, trainer_memory

SMALL: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 384,
    "vocab_size": 271,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32768,
}
QWEN_1_5B = SMALL | {
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
}
WIDE = SMALL | {"hidden_size": 256, "num_key_value_heads": 2, "intermediate_size": 1024, "vocab_size": 30_000}


@pytest.mark.parametrize(
    ("config", "device", "dtype", "sequences", "length"),
    [
        (QWEN_1_5B, "meta", "bfloat16", 4, 2048),
        (SMALL, "meta", "bfloat16", 32, 80),
        (WIDE, "meta", "bfloat16", 4, 512),
        (SMALL, "cpu", "bfloat16", 32, 80),
        (SMALL, "cpu", "float32", 32, 80),
        (WIDE, "cpu", "float32", 4, 100),
        (WIDE, "cpu", "bfloat16", 4, 100),
    ],
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_micro_batch_takes_what_the_plan_says(
    tmp_path: Path, config: dict[str, Any], device: str, dtype: str, sequences: int, length: int, checkpointing: bool
) -> None:
    model = shaped_model(tmp_path, config, dtype, checkpointing, device)
    shape = config_shape(config)
    assert shape is not None
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    tokens = sequences * length
    # An optimizer on the host takes nothing as it steps, so that a micro-batch alone is left.
    settings = Settings(dtype, 0, 1, tokens, checkpointing, device == "meta", longest=length, cpu_optimizer=True)
    planned = trainer_memory("policy", shape, settings)["activations"]
    assert planned == pytest.approx(peak_bytes(model, sequences, length), rel=0.1)
    if not checkpointing:
        forward = trainer_memory("reference", shape, settings)["activations"]
        assert forward == pytest.approx(peak_bytes(model, sequences, length, learns=False), rel=0.25)
