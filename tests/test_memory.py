"""Memory of every role, as an expert would work it out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plans import GIB, QWEN2_32B, big, planned, rendered, whole

from models.load import AudioConfig
from rl import memory
from rl.machine import Machine
from rl.memory import RolePlan
from rl.plan import Plan, spilled
from rl.workers.placement import Bundle

pytestmark = pytest.mark.usefixtures("alone")


# --- models --------------------------------------------------------------------------------------------------------

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
    shape = memory.shape_of(config)
    assert shape is not None
    assert shape.parameters == parameters


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False, "heads": 4, "kv_heads": 2, "ffn_size": 100},
        {"audio": AudioConfig(mel_bins=16, hidden_size=36, layers=3, heads=2, adapter_size=50)},
    ],
)
def test_a_built_model_has_the_parameters_that_were_planned(changes: dict[str, Any], tmp_path: Path) -> None:
    from models.load import BuildConfig, ModelConfig, build

    config = BuildConfig(**{"hidden_size": 128, "layers": 2, **changes})
    folder = build(config, tmp_path / "model", 0)
    by_formula, counted = memory.read(ModelConfig(build=config)), memory.read(ModelConfig(path=str(folder)))
    assert by_formula is not None
    assert by_formula == counted


def test_a_name_of_the_hub_is_looked_up_in_its_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen2.5-32B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(QWEN2_32B))
    assert planned(model={"path": "Qwen/Qwen2.5-32B"}).model == "32.8B parameters, Qwen/Qwen2.5-32B, float32"


# --- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.88)])
def test_zero_divides_states_as_in_its_paper(stage: int, gigabytes: float) -> None:
    """Figure 1 of arXiv 1910.02054: 7.5 B parameters, mixed precision, 64 ranks."""
    shape = memory.shape_of(QWEN2_32B, counted=7_500_000_000)
    assert shape is not None
    parts = memory.trainer("policy", shape, "bfloat16", stage, 64, 1, False, True)
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == pytest.approx(gigabytes * 1e9, rel=5e-3)


def test_float32_has_no_masters_without_zero() -> None:
    shape = memory.shape_of(QWEN2_32B, counted=1000)
    assert shape is not None
    parts = memory.trainer("policy", shape, "float32", 0, 1, 1, False, False)
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (4000, 4000, 8000)
    reference = memory.trainer("reference", shape, "float32", 0, 1, 1, False, False)
    assert (reference["weights"], reference["gradients"], reference["optimizer"]) == (4000, 0, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_autograd_keeps(dtype: Any, checkpointing: bool, tmp_path: Path) -> None:
    import torch

    from models.heads import ValueModel
    from models.load import BuildConfig, build

    config, tokens = BuildConfig(hidden_size=256, layers=3, heads=4, kv_heads=2, ffn_size=640), 1024
    model = ValueModel(build(config, tmp_path / "model", 0), dtype, checkpointing).train()
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    lengths_N, written_T = torch.tensor([256] * 4), torch.ones(tokens, dtype=torch.bool)
    written_T[::256] = False
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        values_A = model(torch.zeros(tokens, dtype=torch.long), lengths_N, written_T)
    measured = sum(size for size, _ in kept.values()) / tokens
    assert values_A.requires_grad

    shape = memory.shape_of({**config.shape(), "vocab_size": 300, "model_type": "qwen2"})
    assert shape is not None
    estimate = shape.activations(dtype, "inputs" if checkpointing else "all")
    if checkpointing:  # the one layer that is worked again is there in the backward only
        layers = memory.shape_of({**config.shape(), "vocab_size": 300, "num_hidden_layers": 2, "model_type": "qwen2"})
        assert layers is not None
        estimate -= shape.activations(dtype, "all") - layers.activations(dtype, "all")
    assert estimate == pytest.approx(measured, rel=0.05)


def test_a_33b_model_on_64_gpus() -> None:
    made = big("trainer.ranks=64", "trainer.zero_stage=3", "engines.count=64", "model.gradient_checkpointing=true")
    assert made.gpu
    assert made.problems == []
    of = {role.role: role for role in made.roles}
    assert of["engine"].parts["weights"] == 2 * 32_763_876_352
    policy = of["policy"]
    assert policy.certain == pytest.approx(16 * 32_763_876_352 / 64)
    # 64 layers keep 10,240 × 5120 inputs, one layer works: 6.7 GB + 3.6 GB
    assert policy.parts["activations"] == pytest.approx(10.5e9, rel=0.05)
    # the longest sequence: 2 × 64 layers × 8 heads × 128 × 2 bytes × 10,240
    assert of["engine"].parts["kv"] == 262_144 * 10_240
    assert len(set(made.devices)) == 1
    # the engine sleeps while trainers work: its 65 GiB and what policy and critic keep, not their activations too
    assert made.devices[0] == pytest.approx(of["engine"].bytes + 2 * policy.bytes - 2 * 10.5e9, rel=0.05)
    text = rendered(made)
    assert "64 × [1 CPU + 1 GPU: engine policy critic]" in text
    assert "≤ 3 micro-batches of ≤ 10,240 tokens on each of 64 ranks" not in text
    assert "16 prompts × 16 samples = 256 rollouts of ≤ 10,240 tokens → 1 optimiser step of ≤ 4 micro-batches" in text
    assert "32.8B parameters" in text


def test_without_checkpointing_it_says_what_would_help() -> None:
    made = big("trainer.ranks=64", "trainer.zero_stage=3")
    assert any("model.gradient_checkpointing=true" in note for note in made.notes)


def test_a_model_too_large_for_this_machine_is_named_with_both_numbers() -> None:
    present = Machine.here().memory
    (problem,) = (p for p in planned("model.dtype=bfloat16", model=huge()).problems if p.startswith("memory: "))
    assert f"{memory.size(present)} present" in problem
    assert "policy" in problem


def huge() -> dict[str, Any]:
    Path("huge").mkdir()
    Path("huge/config.json").write_text(json.dumps({**QWEN2_32B, "num_hidden_layers": 6400, "hidden_size": 1280}))
    return {"path": "huge"}


# --- judges, turns, shared memory ------------------------------------------------------------------------------------


def test_a_judge_of_the_runs_own_is_counted(tmp_path: Path) -> None:
    folder = whole(tmp_path / "critic", QWEN2_32B | {"hidden_size": 640, "num_hidden_layers": 2})
    parts = [{"verifier": "text"}, {"verifier": "judge", "name": "quality", "args": {"served": "critic"}}]
    judges = {"critic": {"model": str(folder), "kv_cache_mb": 100}}
    made = planned(reward={"parts": parts}, judges=judges)
    (judge,) = (role for role in made.roles if role.role == "judge critic")
    shape = memory.described(folder, "judges")
    assert shape is not None
    assert (judge.count, judge.parts["weights"], judge.parts["kv"]) == (1, 2 * shape.parameters, 100 << 20)
    assert not any("not estimated" in note for note in made.notes)
    away = planned(reward={"parts": parts}, judges={"critic": {"model": "some/judge"}})
    assert "judges.critic.model: the model is not here; its memory is not estimated" in away.notes
    assert any(("judge critic", 0) in bundle.actors for bundle in made.placed)
    assert not made.problems
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
        made = planned(
            "engines.vllm.gpu_memory_utilization=0.25",
            reward=reward,
            judges={"critic": {"model": str(folder), "vllm": vllm}},
            cluster=cluster,
        )
        return {role.role: role for role in made.roles}["judge critic"].bytes, made

    alone, made = share()
    assert alone == pytest.approx(0.92 * 80 * GIB)
    assert any("needed on a GPU, 80 GiB expected; lower vllm.gpu_memory" in problem for problem in made.problems)
    half, made = share(gpu_memory_utilization=0.5)
    assert half == pytest.approx(0.5 * 80 * GIB)
    of = {role.role: role for role in made.roles}
    trained = sum(of[name].bytes - of[name].parts["activations"] for name in ("policy", "critic"))
    assert made.devices == [pytest.approx(0.75 * 80 * GIB + trained)]
    assert not made.problems


def test_trainers_work_at_once_and_an_engine_by_turns() -> None:
    def role(name: str, weights: float, kv: float, activations: float) -> RolePlan:
        zero = {"gradients": 0.0, "optimizer": 0.0}
        return RolePlan(name, 1, {"weights": weights, "kv": kv, "activations": activations, "other": 1.0, **zero})

    trainers = [role("policy", 10, 0, 30), role("critic", 10, 0, 20)]
    seat = (("engine", 0), ("policy", 0), ("critic", 0), ("reward_model", 0))

    def device(cache: float, asked: float) -> float:
        roles = [role("engine", 5, cache, 0), *trainers, role("reward_model", 7, 0, asked)]
        return Plan("r", "m", gpu=True, placed=[Bundle(1, 1, seat)], roles=roles).devices[0]

    kept = 11 + 11 + 8 + 1  # with the context of the engine that sleeps
    assert device(cache=40, asked=3) == kept + 50, "policy and critic"
    assert device(cache=60, asked=3) == kept + 65 + 3, "an engine, and a reward model that is asked meanwhile"


def test_weights_that_shared_memory_cannot_hold_are_noted() -> None:
    assert spilled(2 * GIB, 3 * GIB) == []
    (note,) = spilled(3 * GIB, 64 << 20)
    assert note.startswith("memory: a version of the weights takes 3.0 GiB, 64 MiB of /dev/shm are free")
