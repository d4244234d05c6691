"""`scripts/bench gpu`: the counts that its times are made of."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHAPE = {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
SIZES = {"intermediate_size": 512, "vocab_size": 1280, "tie_word_embeddings": True, "max_position_embeddings": 4096}


@pytest.mark.parametrize("plain_layers", [False, True])
def test_a_micro_batch_has_the_products_of_its_parameters(monkeypatch: pytest.MonkeyPatch, plain_layers: bool) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    import gpu
    from transformers.models.qwen2 import modeling_qwen2

    from models import heads

    # Both of which the benchmark replaces.
    monkeypatch.setattr(modeling_qwen2, "apply_rotary_pos_emb", modeling_qwen2.apply_rotary_pos_emb)
    monkeypatch.setattr(heads, "load_model", heads.load_model)
    options = argparse.Namespace(checkpointing=False, forward=False, plain_layers=plain_layers)
    lengths = [700, 200, 100]
    result = gpu.measure({**gpu.QWEN2, **SHAPE, **SIZES}, lengths, gpu.Card(), options)
    flops = {group: sum(o["flops"] for o in result["operations"] if o["group"] == group) for group in gpu.GROUPS}
    linear = 2 * (256 * (256 + 2 * 128 + 256) + 3 * 256 * 512)  # q, k and v, o; gate, up and down; of both layers
    angles = 2 * 64 * 1000  # of the positions: once for all layers
    assert flops["products"] == 6 * linear * 1000 + angles
    # Forward, again, and the gradients of states and of weight.
    assert flops["head"] == 4 * 2 * 256 * 1280 * (1000 - len(lengths))
    pairs = sum(n * (n + 1) / 2 for n in lengths)
    assert flops["attention"] == 3.5 * 2 * 4 * 256 * pairs
    names = {o["name"] for o in result["operations"]}
    assert "_varlen_attn*" in names
    assert ("liger swiglu*" in names) != plain_layers
    assert not any("sort" in name or "index_put" in name for name in names)
    assert 0 < result["mfu"] < 1
    assert result["ms"] == pytest.approx(sum(result["groups_ms"].values()))
