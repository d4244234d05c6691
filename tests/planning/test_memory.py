"""Memory of every role, as an expert would work it out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plans import GIB, QWEN2_32B, big, planned, rendered, whole

from models.shape import config_shape, folder_shape
from rl.planning.memory import RolePlan, object_store_notes
from rl.planning.plan import Plan
from rl.planning.trainer_memory import Settings, trainer_memory
from rl.units import size
from rl.workers.machine import Machine
from rl.workers.placement import Bundle

pytestmark = pytest.mark.usefixtures("alone")


# Bytes a parameter over 64 ranks, by hand. Weights, gradients, AdamW's moments and masters: in bfloat16
# 2 + (4 + 2 of the backward) + 12 / 64 under stage 1, which stage 0 is too; 2 + 4 / 64 + 12 / 64; (2 + 4 + 12) / 64.
# In float32 4 + 4 + 8; 4 + 4 + 12 / 64; 4 + 4 / 64 + 12 / 64; 20 / 64.
DIVIDED = [
    *(("bfloat16", stage, each) for stage, each in enumerate((8.1875, 8.1875, 2.25, 0.28125))),
    *(("float32", stage, each) for stage, each in enumerate((16.0, 8.1875, 4.25, 0.3125))),
]


@pytest.mark.parametrize(("dtype", "stage", "each"), DIVIDED)
def test_zero_divides_states_over_ranks(dtype: str, stage: int, each: float) -> None:
    """As in its paper (arXiv 1910.02054), but for gradients, which DeepSpeed adds up in float32."""
    shape = config_shape(QWEN2_32B, parameters=7_500_000_000)
    assert shape is not None
    parts = trainer_memory("policy", shape, Settings(dtype, stage, 64, 1, False, True))
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == each * 7.5e9


def test_what_never_learns_has_masters_and_the_buffers_of_gradients() -> None:
    shape = config_shape(QWEN2_32B, parameters=6400)
    assert shape is not None
    of = {
        (dtype, stage): trainer_memory("reference", shape, Settings(dtype, stage, 64, 1, False, True))
        for dtype in ("bfloat16", "float32")
        for stage in (0, 1, 2, 3)
    }
    whole, share = 4 * 6400, 4 * 100
    assert [of["bfloat16", stage]["gradients"] for stage in range(4)] == [whole, whole, 0, share]
    assert [of["float32", stage]["gradients"] for stage in range(4)] == [0, 0, 0, share]
    assert [of["bfloat16", stage]["optimizer"] for stage in range(4)] == [share] * 4
    assert [of["float32", stage]["optimizer"] for stage in range(4)] == [0, share, share, share]


def test_an_optimizer_that_steps_on_more_than_activations_is_what_counts() -> None:
    """7.5 B parameters on two ranks: 8 bytes of the 3.75 B that a rank steps on, and under stage 3 12 of a group of 1 B;
    on a GPU, where the kernel is fused, the flat gradient alone."""
    shape = config_shape(QWEN2_32B, parameters=7_500_000_000)
    assert shape is not None
    least = {
        gpu: [
            trainer_memory("policy", shape, Settings("bfloat16", stage, 2, 1, True, gpu))["activations"]
            for stage in (1, 2, 3)
        ]
        for gpu in (False, True)
    }
    head = 6 * 152_064 * 5120  # its gradient, in float32 and in bfloat16: a CPU's malloc keeps both
    expected = {False: [30e9 + head, 30e9 + head, 12e9 + head], True: [15e9, 15e9, 4e9]}
    assert {gpu: pytest.approx(values, rel=1e-3) for gpu, values in expected.items()} == least, (
        "AdamW is one kernel there"
    )
    many = trainer_memory("policy", shape, Settings("bfloat16", 3, 2, 65536, True, True))["activations"]
    assert many > 65536 * shape.activations("bfloat16", "inputs") > 12e9


def test_float32_has_no_masters_without_zero() -> None:
    shape = config_shape(QWEN2_32B, parameters=1000)
    assert shape is not None
    parts = trainer_memory("policy", shape, Settings("float32", 0, 1, 1, False, False))
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (4000, 4000, 8000)
    reference = trainer_memory("reference", shape, Settings("float32", 0, 1, 1, False, False))
    assert (reference["weights"], reference["gradients"], reference["optimizer"]) == (4000, 0, 0)


def test_a_33b_model_on_64_gpus() -> None:
    plan = big("trainer.ranks=64", "trainer.zero_stage=3", "engines.count=64", "model.gradient_checkpointing=true")
    assert plan.gpu
    assert plan.problems == []
    of = {role.role: role for role in plan.roles}
    assert of["engine"].parts["weights"] == 2 * 32_763_876_352
    policy = of["policy"]
    assert policy.certain == pytest.approx(18 * 32_763_876_352 / 64)
    # 64 layers keep 10,240 × 5120 inputs, the last norm 0.4 GB, and one layer works: 6.7 GB + 0.4 GB + 1.2 × 3.5 GB
    assert policy.parts["activations"] == pytest.approx(11.3e9, rel=0.05)
    # the longest sequence: 2 × 64 layers × 8 heads × 128 × 2 bytes × 10,240
    assert of["engine"].parts["kv"] == 262_144 * 10_240
    assert len(set(plan.devices)) == 1
    # Trainers leave the GPU to the engine: beside its 65 GiB lie their weights and contexts.
    kept = 2 * 32_763_876_352 / 64 + GIB
    assert policy.resting == of["critic"].resting + 2 * 152_064 * 5120 / 64 == kept
    assert policy.host == pytest.approx(16 * 32_763_876_352 / 64)
    assert plan.devices[0] == pytest.approx(of["engine"].bytes + 2 * kept, rel=0.01)
    text = rendered(plan)
    assert "64 × [1 CPU + 1 GPU: engine policy critic]" in text
    assert "≤ 3 micro-batches of ≤ 10,240 tokens on each of 64 ranks" not in text
    assert "16 prompts × 16 samples = 256 rollouts of ≤ 10,240 tokens → 1 optimiser step of ≤ 4 micro-batches" in text
    assert "32.8B parameters" in text


def test_without_checkpointing_it_says_what_would_help() -> None:
    plan = big("trainer.ranks=64", "trainer.zero_stage=3")
    assert any("model.gradient_checkpointing=true" in note for note in plan.notes)


def test_a_model_too_large_for_this_machine_is_named_with_both_numbers() -> None:
    present = Machine.detect().memory
    (problem,) = (p for p in planned("model.dtype=bfloat16", model=huge()).problems if p.startswith("memory: "))
    assert f"{size(present)} present" in problem
    assert "policy" in problem


def huge() -> dict[str, Any]:
    Path("huge").mkdir()
    Path("huge/config.json").write_text(json.dumps({**QWEN2_32B, "num_hidden_layers": 6400, "hidden_size": 1280}))
    return {"path": "huge"}


# --- judges, turns, shared memory ------------------------------------------------------------------------------------


def test_an_engine_on_a_cpu_samples_over_the_vocabulary_and_receives_weights() -> None:
    """By hand: 267 tokens, 256 samples at once; two versions of the weights wait in Ray's object store."""
    plan = planned("engines.kv_cache_mb=100")
    parts = {role.role: role.parts for role in plan.roles}
    assert parts["engine"]["other"] == 0.6 * GIB + 8 * 4 * 256 * 267
    assert parts["engine"]["kv"] == 100 << 20
    devices = sum(plan.devices)
    assert plan.memory == devices + 1.0 * GIB + 2 * parts["policy"]["weights"]
    without_engine = planned(stages=[{"sft": {"data": "words"}}])
    assert without_engine.memory == sum(without_engine.devices) + 1.0 * GIB, "nothing is sent"


def test_a_judge_of_the_runs_own_is_counted(tmp_path: Path) -> None:
    folder = whole(tmp_path / "critic", QWEN2_32B | {"hidden_size": 640, "num_hidden_layers": 2})
    parts = [{"verifier": "text"}, {"verifier": "judge", "name": "quality", "args": {"served": "critic"}}]
    judges = {"critic": {"model": str(folder), "kv_cache_mb": 100}}
    plan = planned(reward={"parts": parts}, judges=judges)
    (judge,) = (role for role in plan.roles if role.role == "judge critic")
    shape = folder_shape(folder, "judges")
    assert shape is not None
    assert (judge.count, judge.parts["weights"], judge.parts["kv"]) == (1, 2 * shape.parameters, 100 << 20)
    assert not any("not estimated" in note for note in plan.notes)
    away = planned(reward={"parts": parts}, judges={"critic": {"model": "some/judge"}})
    assert "judges.critic.model: the model is not here; its memory is not estimated" in away.notes
    assert any(("judge critic", 0) in bundle.actors for bundle in plan.placed)
    assert not plan.problems
    unasked = planned(judges=judges)
    assert "judge critic" not in {role.role for role in unasked.roles}
    missing = planned(reward={"parts": parts}, judges={"critic": {"model": "./nowhere"}})
    assert missing.problems == ["judges.critic.model: no such folder: ./nowhere; correct it or name a model of the hub"]


def test_a_judge_on_a_gpu_takes_its_share_and_never_sleeps(tmp_path: Path) -> None:
    folder = tmp_path / "critic"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN2_32B | {"num_hidden_layers": 4}))
    reward = {"parts": [{"verifier": "judge", "args": {"served": "critic"}}]}
    cluster = {"expect": {"gpus_per_node": 1, "gpu_memory_gb": 80}}

    def share(**vllm: Any) -> tuple[float, Plan]:
        plan = planned(
            "engines.vllm.gpu_memory_utilization=0.25",
            reward=reward,
            judges={"critic": {"model": str(folder), "vllm": vllm}},
            cluster=cluster,
        )
        return {role.role: role for role in plan.roles}["judge critic"].bytes, plan

    alone, plan = share()
    assert alone == pytest.approx(0.92 * 80 * GIB)
    assert any("needed on a GPU, 80 GiB expected; " in problem for problem in plan.problems)
    half, plan = share(gpu_memory_utilization=0.5)
    assert half == pytest.approx(0.5 * 80 * GIB)
    of = {role.role: role for role in plan.roles}
    assert plan.devices == [pytest.approx(0.75 * 80 * GIB + of["policy"].resting + of["critic"].resting)]
    assert not plan.problems


def test_trainers_and_an_engine_work_by_turns() -> None:
    def role(name: str, weights: float, kv: float, activations: float) -> RolePlan:
        zero = {"gradients": 0.0, "optimizer": 0.0}
        return RolePlan(name, 1, {"weights": weights, "kv": kv, "activations": activations, "other": 1.0, **zero})

    trainers = [role("policy", 10, 0, 30), role("critic", 10, 0, 20)]
    seat = (("engine", 0), ("policy", 0), ("critic", 0), ("reward_model", 0))

    def device(cache: float, asked: float) -> float:
        roles = [role("engine", 5, cache, 0), *trainers, role("reward_model", 7, 0, asked)]
        return Plan("r", "m", gpu=True, placed=[Bundle(1, 1, seat)], roles=roles).devices[0]

    kept = 11 + 11 + 8 + 1  # with the context of the engine that sleeps
    assert device(cache=10, asked=3) == kept + 30, "the policy, which takes more than the critic"
    assert device(cache=60, asked=3) == kept + 65 + 3, "an engine, and a reward model that is asked meanwhile"


def test_ranks_that_share_sequences_have_a_part_of_the_tokens() -> None:
    long = [{"rlvr": {"data": "words", "prompts_per_step": 16, "max_sequence_tokens": 65536}}]
    settings = ("trainer.ranks=16", "trainer.zero_stage=3", "model.gradient_checkpointing=true")

    def policy(*overrides: str) -> RolePlan:
        plan = planned(
            *settings,
            *overrides,
            stages=long,
            model={"path": "big", "dtype": "bfloat16"},
            cluster={"address": "ray://h:1"},
        )
        assert not plan.problems
        return next(role for role in plan.roles if role.role == "policy")

    whole_config = {**QWEN2_32B, "max_position_embeddings": 65536}
    whole(Path("big"), whole_config)
    shape = config_shape(whole_config)
    assert shape is not None
    alone, shared = policy(), policy("trainer.sequence_parallel=8")
    inputs, layer = shape.activations("bfloat16", "inputs"), 1.2 * shape.layer_activations("bfloat16")
    assert alone.parts["activations"] == pytest.approx(65536 * (inputs + layer))
    assert shared.parts["activations"] == pytest.approx(8192 * (inputs + layer), rel=0.05)
    offloaded = policy("trainer.sequence_parallel=8", "trainer.offload_activations=true")
    inputs = 8192 * shape.hidden * 2
    kept = 8192 * (shape.activations("bfloat16", "inputs") - shape.activations("bfloat16", "two inputs"))
    assert shared.parts["activations"] - offloaded.parts["activations"] == pytest.approx(
        min(kept, shared.parts["activations"] - 4e9)
    )
    assert offloaded.host - shared.host == shape.layers * inputs


def test_ranks_that_cannot_share_are_refused() -> None:
    def problems(*overrides: str) -> list[str]:
        return [line for line in planned(*overrides).problems if line.startswith("trainer.")]

    assert problems("trainer.ranks=6", "trainer.sequence_parallel=4") == [
        "trainer.sequence_parallel: 4 does not divide the 6 trainer.ranks; choose 1 or 2"
    ]
    assert problems("trainer.ranks=4", "trainer.sequence_parallel=4") == [
        "trainer.sequence_parallel: 4 does not divide the 2 attention heads of the model; choose 1 or 2"
    ]
    assert problems("trainer.ranks=4", "trainer.sequence_parallel=2") == []
    assert problems("trainer.ranks=1", "trainer.sequence_parallel=2") == [
        "trainer.sequence_parallel: 2 does not divide the 1 trainer.ranks; choose 1"
    ]
    (problem,) = problems("trainer.offload_activations=true")
    assert "set model.gradient_checkpointing: true" in problem


OFFLOADED = "trainer.deepspeed.zero_optimization.offload_optimizer.device=cpu"


def test_weights_that_shared_memory_cannot_hold_are_noted() -> None:
    assert object_store_notes(2 * GIB, 3 * GIB) == []
    (note,) = object_store_notes(3 * GIB, 64 << 20)
    assert note.startswith("memory: a version of the weights takes 3.0 GiB, 64 MiB of /dev/shm are free")


@pytest.mark.parametrize(("transport", "count"), [("auto", 1), ("object_store", 1), ("shared_memory", 0)])
def test_weights_that_are_streamed_do_not_go_through_shared_memory_whole(transport: str, count: int) -> None:
    notes = planned(f"engines.transport={transport}", "model.dtype=bfloat16", model=huge()).notes
    assert sum("of /dev/shm are free" in note for note in notes) == count


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((), ["610 GiB of optimizer states and sleeping engines"]),
        (("cluster.placement=split",), []),
        (("cluster.placement=split", OFFLOADED), ["488 GiB of optimizer states"]),
    ],
)
def test_what_waits_in_the_hosts_memory(
    overrides: tuple[str, ...], says: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand, on two GPUs: 16 bytes of each of 32.8 B parameters over the ranks, and 2 in each engine that sleeps."""
    machine = Machine(64, 2, GIB, 80 * GIB, 80 * GIB)
    monkeypatch.setattr(Machine, "detect", lambda: machine)
    whole(Path("big"), QWEN2_32B)
    grpo = [{"rlvr": {"data": "words", "algorithm": "grpo"}}]
    plan = planned(*overrides, model={"path": "big", "dtype": "bfloat16"}, stages=grpo)
    waiting = [note for note in plan.notes if "wait in the host's memory" in note]
    assert [note.partition(" wait ")[0] for note in waiting] == [f"memory: {text}" for text in says]
