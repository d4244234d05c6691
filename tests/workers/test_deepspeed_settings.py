"""What DeepSpeed is told, by device and dtype, and which AdamW goes with it."""

from __future__ import annotations

import pytest
import torch

from rl.config import ConfigError, Values, build
from rl.workers.adamw import build_adamw
from rl.workers.deepspeed_settings import deepspeed_settings, offloads_optimizer
from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer_config import TrainerConfig

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


def zero(**options: object) -> Values:
    return {"zero_optimization": options}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (zero(stage=3), "zero_optimization.stage: set trainer.zero_stage instead"),
        ({"fp16": {"enabled": True}}, "fp16: there is no float16; set model.dtype=bfloat16 or float32 instead"),
        ({"bf16": {"enabled": True}}, "bf16.enabled: set model.dtype instead"),
        ({"gradient_allreduce_op": "sum"}, "gradient_allreduce_op: trainers rely on the mean over the ranks, DeepSpeed's default; remove it"),
        ({"zero_optimization": None}, "zero_optimization: expected a mapping, such as {overlap_comm: false}; got None"),
        ({"zero_optimization": 3}, "zero_optimization: expected a mapping, such as {overlap_comm: false}; got 3"),
        ({"bf16": None}, "bf16: expected a mapping, such as {check_grad_overflow: false}; got None"),
        ({"data_types": "fp32"}, "data_types: expected a mapping, such as {grad_accum_dtype: fp32}; got 'fp32'"),
        (zero(offload_optimizer="cpu"), "zero_optimization.offload_optimizer: expected a mapping, such as {device: cpu}; got 'cpu'"),
    ],
)  # fmt: skip
def test_an_option_that_a_recipe_may_not_set_is_refused(options: Values, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(TrainerConfig, {"deepspeed": options}, "trainer")
    assert str(caught.value) == f"trainer.deepspeed.{says}"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        (zero(), False),
        (zero(offload_optimizer=None), False),
        (zero(offload_optimizer={"device": "none"}), False),
        (zero(offload_optimizer={"device": "cpu"}), True),
        (zero(offload_optimizer={"device": "nvme"}), True),
    ],
)
def test_an_optimizer_is_off_the_gpu_for_the_plan_and_the_trainer_alike(options: Values, expected: bool) -> None:
    assert build(TrainerConfig, {"deepspeed": options}, "trainer").deepspeed == options
    assert offloads_optimizer(options) == expected
    assert deepspeed_settings("float32", 0, options, 1.0)["zero_optimization"]["stage"] == expected
