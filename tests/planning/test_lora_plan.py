"""LoRA in `rl check`: its memory by hand, targets that there are not, rates that suit all weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from plans import GIB, QWEN2_32B, planned, whole

from models.lora import LoraConfig
from models.shape import config_shape
from rl.planning import disk
from rl.planning.lora import trained_parameters
from rl.planning.plan import Plan
from rl.planning.trainer_memory import Settings, trainer_memory

pytestmark = pytest.mark.usefixtures("alone")

BUILD = {"build": {"hidden_size": 64, "heads": 2, "layers": 1}}
TRAINED = 64 * 16 * (2 * (5120 + 5120) + 2 * (5120 + 1024) + 3 * (5120 + 27648))
"""Of an adapter of rank 16 on a 32B model: r × (in + out) for q, o, k, v, gate, up and down, in 64 layers."""


def with_lora(*overrides: str, stages: list[dict[str, Any]] | None = None, **lora: Any) -> Plan:
    return planned(*overrides, stages=stages, model={**BUILD, "lora": lora})


def test_states_are_those_of_the_adapter_alone() -> None:
    """By hand: 32B bfloat16 weights, and of the adapter its own 2 bytes, gradients in 4 + 2, masters and moments in 12."""
    shape = config_shape(QWEN2_32B, parameters=32_000_000_000)
    assert shape is not None
    assert trained_parameters(shape, LoraConfig(rank=16)) == TRAINED == 134_217_728
    parts = trainer_memory("policy", shape, Settings("bfloat16", 0, 1, 1, True, True, TRAINED))
    assert parts["weights"] == 2 * 32e9 + 2 * TRAINED
    assert parts["gradients"] == 6 * TRAINED
    assert parts["optimizer"] == 12 * TRAINED
    sharded = trainer_memory("policy", shape, Settings("bfloat16", 3, 8, 1, True, True, TRAINED))
    assert sharded["weights"] == (2 * 32e9 + 2 * TRAINED) / 8
    assert sharded["gradients"] + sharded["optimizer"] == (4 + 12) * TRAINED / 8
    full = trainer_memory("policy", shape, Settings("bfloat16", 0, 1, 1, True, True))
    total = [sum(parts[name] for name in ("weights", "gradients", "optimizer")) for parts in (parts, full)]
    assert total[0] < 63 * GIB < 500 * GIB < total[1]


@pytest.mark.parametrize(
    ("targets", "each"), [(["q_proj"], 10240), (["q_proj", "v_proj"], 10240 + 6144), (["strange"], 5120 + 27648)]
)
def test_targets_are_counted(targets: list[str], each: int) -> None:
    shape = config_shape(QWEN2_32B)
    assert shape is not None
    assert trained_parameters(shape, LoraConfig(rank=4, targets=targets)) == 64 * 4 * each


def test_experts_have_no_adapters() -> None:
    """They are stored as one tensor, which is no linear layer."""
    shape = config_shape(QWEN2_32B | {"model_type": "qwen3_moe", "num_experts": 8, "moe_intermediate_size": 1024})
    assert shape is not None
    assert trained_parameters(shape, LoraConfig(rank=4)) == 64 * 4 * (2 * (5120 + 5120) + 2 * (5120 + 1024))


def test_there_is_no_reference_to_place_and_checkpoints_are_small() -> None:
    stages = [{"rlvr": {"data": "words", "prompts_per_step": 16, "objective": {"kl_coef": 0.1}}}]
    full, adapted = planned(stages=stages), with_lora(stages=stages)
    assert {role.role for role in full.roles} - {role.role for role in adapted.roles} == {"reference"}
    assert adapted.disk["checkpoints"] < full.disk["checkpoints"]
    assert adapted.memory < full.memory
    assert disk.BYTES_PER_TOKEN


RATES = [
    ("sft.optimizer.learning_rate=1e-4", "rlvr.optimizer.learning_rate=1e-5", "rlvr.critic_optimizer.learning_rate=1e-4"),
    ("sft.optimizer.learning_rate=5e-5", "rlvr.optimizer.learning_rate=1e-3", "rlvr.critic_optimizer.learning_rate=5e-5"),
]  # fmt: skip


def test_a_rate_for_all_weights_is_noted() -> None:
    plan = with_lora()
    lines = [note for note in plan.notes if "suits full fine-tuning" in note]
    assert len(lines) == 3, plan.notes
    assert lines[0].endswith(
        "sft.optimizer.learning_rate: 1e-05 suits full fine-tuning; an adapter wants about 10 times as much, such as 0.0001"
    ) or lines[0].startswith("stages[0].sft.optimizer.learning_rate: 1e-05 suits full fine-tuning")
    assert not any("suits full fine-tuning" in note for note in planned().notes)
    for rates in RATES:
        assert not any("suits full fine-tuning" in note for note in with_lora(*rates).notes)
    grpo = with_lora(stages=[{"rlvr": {"data": "words", "prompts_per_step": 16, "algorithm": "grpo"}}])
    assert len([note for note in grpo.notes if "suits full fine-tuning" in note]) == 1, "grpo has no critic"


def test_lora_without_a_stage_that_trains_is_refused() -> None:
    for stages in ([{"evaluate": {"data": "words"}}], [{"curate": {"data": "words"}}, {"evaluate": {"data": "words"}}]):
        assert any(line.startswith("model.lora: no stage trains with it") for line in with_lora(stages=stages).problems)
    assert not any("model.lora" in line for line in with_lora().problems)


def test_encode_alone_trains_without_an_adapter() -> None:
    model = {"build": {**BUILD["build"], "audio": {}}, "lora": {}}
    clips = {"clips": {"source": "sounds", "args": {"kinds": ["labels"], "size": 40}}}
    stages: list[dict[str, Any]] = [{"encode": {"data": "clips", "held_out": None}}]
    plan = planned(stages=stages, model=model, data=clips)
    assert any(line.startswith("model.lora: no stage trains with it") for line in plan.problems)
    stages.append({"sft": {"data": "clips", "optimizer": {"learning_rate": 1e-3}}})
    plan = planned(stages=stages, model=model, data=clips)
    assert not any("model.lora" in line for line in plan.problems)
    assert any("trains the audio encoder's own weights; model.lora is for the stages after it" in n for n in plan.notes)


@pytest.mark.parametrize("target", ["q_prj", "lm_head", "model", "proj", "注意"])
def test_a_target_that_is_not_there_is_refused_before_anything_starts(target: str) -> None:
    plan = with_lora(targets=["q_proj", target])
    assert any(
        line.startswith(f"model.lora.targets: the decoder has no linear layer '{target}'; it has q_proj, k_proj")
        for line in plan.problems
    ), plan.problems
    folder = Path("given")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**QWEN2_32B, "hidden_size": 64}))
    names = {"model.layers.0.self_attn.q_proj.weight": [4, 4], "lm_head.weight": [4, 4], "model.norm.weight": [4]}
    write_safetensors(folder / "model.safetensors", names)
    (folder / "tokenizer.json").write_text("{}")
    plan = planned(model={"path": "given", "lora": {"targets": ["q_proj", target]}})
    assert any(
        line.endswith(f"no linear layer '{target}'; it has q_proj, or write `all-linear`") for line in plan.problems
    )
    plan = planned(model={"path": "given", "lora": {"targets": ["q_proj"]}})
    assert not any("model.lora" in line for line in plan.problems)


@pytest.mark.parametrize(("dtype", "refused"), [("bfloat16", True), ("float32", False)])
def test_a_model_whose_engine_takes_no_adapters_is_refused(dtype: str, refused: bool) -> None:
    whole(Path("given"), {"model_type": "qwen2_audio", "text_config": QWEN2_32B})
    plan = planned(model={"path": "given", "dtype": dtype, "lora": {}})
    assert any("vLLM takes no adapters for 'qwen2_audio'; use dtype float32" in p for p in plan.problems) == refused


def write_safetensors(file: Path, shapes: dict[str, list[int]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 4 * (shape[0] * shape[1] if len(shape) == 2 else shape[0])
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
