"""What DeepSpeed is told, by device and dtype, and which AdamW goes with it."""

from __future__ import annotations

import pytest
import torch

from rl.config import Values
from rl.workers.adamw import build_adamw
from rl.workers.deepspeed_settings import deepspeed_settings
from rl.workers.optimizer import OptimizerConfig

ON_HOST: Values = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}


def test_gpus_communicate_beside_the_arithmetic_and_add_up_in_float32() -> None:
    settings = deepspeed_settings("bfloat16", 3, Values(), 1.0, on_gpus=True)
    assert settings["zero_optimization"] == {"stage": 3, "overlap_comm": True, "reduce_bucket_size": 100_000_000}
    assert settings["communication_data_type"] == "fp32"
    on_cpu = deepspeed_settings("float32", 2, Values(), 1.0)
    assert on_cpu["zero_optimization"] == {"stage": 2, "overlap_comm": False}
    assert "communication_data_type" not in on_cpu


@pytest.mark.parametrize(("dtype", "stage"), [("float32", 0), ("bfloat16", 0), ("float32", 1), ("bfloat16", 1)])
def test_below_stage_2_nothing_overlaps(dtype: str, stage: int) -> None:
    """DeepSpeed refuses it there, where micro-batches are counted by us."""
    settings = deepspeed_settings(dtype, stage, Values(), 1.0, on_gpus=True)
    assert settings["zero_optimization"]["overlap_comm"] is False


def test_a_recipe_has_the_last_word() -> None:
    options: Values = {"communication_data_type": "bf16", "zero_optimization": {"overlap_comm": False}}
    settings = deepspeed_settings("bfloat16", 2, options, 1.0, on_gpus=True)
    assert settings["communication_data_type"] == "bf16"
    assert settings["zero_optimization"]["overlap_comm"] is False


def test_an_optimizer_on_the_host_is_one_of_zero_and_fused() -> None:
    settings = deepspeed_settings("float32", 0, ON_HOST, 1.0)
    assert settings["zero_optimization"]["stage"] == 1
    assert settings["zero_force_ds_cpu_optimizer"] is False  # or DeepSpeed would refuse torch's
    module = torch.nn.Linear(2, 2)
    plain = deepspeed_settings("float32", 0, Values(), 1.0)
    fused = {
        "on a CPU": build_adamw(module, OptimizerConfig(), plain, False, 1, 1).defaults["fused"],
        "on a GPU": build_adamw(module, OptimizerConfig(), plain, True, 1, 1).defaults["fused"],
        "on the host": build_adamw(module, OptimizerConfig(), settings, False, 1, 1).defaults["fused"],
    }
    assert fused == {"on a CPU": False, "on a GPU": True, "on the host": True}
