"""The plan: numbers an expert would check by hand, and what it says is missing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from models.load import AudioConfig
from rl import memory
from rl.arithmetic import micro_batches
from rl.data.collate import pack
from rl.machine import Machine, shadowed
from rl.memory import RolePlan
from rl.plan import Plan, plan, spilled
from rl.plan_table import as_json, render
from rl.recipe import load
from rl.workers.placement import Bundle

GIB = 1 << 30
QWEN2_32B = {
    "model_type": "qwen2",
    "hidden_size": 5120,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "intermediate_size": 27648,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "max_position_embeddings": 32768,
}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delitem(
        sys.modules, "ray", raising=False
    )  # a Ray that runs is planned for, and the session may have one


FIELDS = {"question": "question", "answer": "answer", "response": "answer"}


def planned(*overrides: str, stages: list[dict[str, Any]] | None = None, **header: Any) -> Plan:
    """The plan of a small recipe on 100 rows of a file."""
    Path("words.jsonl").write_text("".join(f'{{"question": "q{i}", "answer": "{i}"}}\n' for i in range(100)))
    recipe = {
        "name": "small",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"words": {"source": "jsonl", "path": "words.jsonl", "fields": FIELDS}},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": stages or [{"sft": {"data": "words"}}, {"rlvr": {"data": "words", "prompts_per_step": 16}}],
        **header,
    }
    return plan(load(recipe, overrides))


def big(*overrides: str, **config: Any) -> Plan:
    """The same for a model that is only a config.json, on a cluster elsewhere."""
    Path("big").mkdir()
    Path("big/config.json").write_text(json.dumps({**QWEN2_32B, **config}))
    return planned(*overrides, model={"path": "big", "dtype": "bfloat16"}, cluster={"address": "ray://head:10001"})


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


# --- batches -------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=60),
    st.integers(1, 200),
    st.integers(1, 5),
)
def test_no_batch_needs_more_micro_batches_than_planned(lengths: list[int], budget: int, ranks: int) -> None:
    longest = max(lengths)
    most, tokens = micro_batches(len(lengths), longest, budget, ranks)
    packed = pack(lengths, budget, ranks)
    assert max(map(len, packed)) <= most
    assert max(sum(lengths[i] for i in rows) for rank in packed for rows in rank) <= tokens


def test_the_arithmetic_of_each_stage() -> None:
    made = planned(
        "rlvr.steps=10",
        stages=[
            {"sft": {"data": "words", "epochs": 2, "sequences_per_step": 32, "max_sequence_tokens": 64}},
            {"curate": {"data": "words", "limit": 50, "max_sequence_tokens": 64}},
            {
                "rlvr": {
                    "data": "words",
                    "prompts_per_step": 16,
                    "epochs": 2,
                    "minibatches": 4,
                    "max_sequence_tokens": 64,
                    "eval_every": 5,
                    "eval": {"data": "words", "split": None, "limit": 20, "max_sequence_tokens": 64},
                }
            },
            {"evaluate": {"data": "words", "split": None, "max_sequence_tokens": 64}},
        ],
    )
    assert made.problems == []
    assert [stage.says for stage in made.stages] == [
        "2 epochs of 100 prompts → 6 optimiser steps of 32 sequences, ≤ 1 micro-batch of ≤ 2,048 tokens",
        "50 prompts × 8 samples = 400 rollouts of ≤ 64 tokens; keeps prompts with 3 to 6 right",
        "ppo, each step 16 prompts × 16 samples = 256 rollouts of ≤ 64 tokens → 2 epochs × 4 mini-batches = 8 optimiser "
        "steps of 64 rollouts, each ≤ 1 micro-batch of ≤ 4,096 tokens\n"
        "10 steps: 160 prompts drawn from 100 prompts (1.6 epochs); every 5 steps 20 prompts × (8 samples + 1 greedy)",
        "100 prompts × (8 samples + 1 greedy) = 900 rollouts of ≤ 64 tokens",
    ]
    assert [stage.steps for stage in made.stages] == [6, 0, 80, 0]
    assert [stage.tokens for stage in made.stages] == [6 * 32 * 64, 400 * 64, 2560 * 64, 900 * 64]


def test_the_arithmetic_of_distilled_and_preferred() -> None:
    made = planned(
        stages=[
            {"sft": {"data": {"words": 0.75, "more": 0.25}, "sequences_per_step": 10, "max_sequence_tokens": 64}},
            {"distill": {"data": "words", "samples": 4, "keep": {"accuracy": 1}, "max_sequence_tokens": 64}},
            {"pairs": {"data": "words", "samples_of": "distill", "max_sequence_tokens": 64}},
            {"pairs": {"name": "own", "data": "words", "limit": 50, "by": "accuracy", "max_sequence_tokens": 64}},
            {"dpo": {"data": "pairs", "max_sequence_tokens": 64}},
            {"reward_model": {"data": "own", "max_sequence_tokens": 64}},
            {"evaluate": {"data": "words", "split": None, "budgets": [0, "full"], "max_sequence_tokens": 64}},
        ],
        data={name: {"source": "jsonl", "path": "words.jsonl", "fields": FIELDS} for name in ("words", "more")},
    )
    assert made.problems == []
    assert [stage.says for stage in made.stages] == [
        "1 epoch of 200 prompts of words (75%) + more (25%) → 13 optimiser steps of 10 sequences, ≤ 1 micro-batch of ≤ "
        "640 tokens",
        "100 prompts × 4 samples = 400 rollouts of ≤ 64 tokens; keeps at most 1 chain of a prompt with accuracy ≥ 1",
        "samples of 'distill'; at most 1 pair of a prompt, ≥ 0.5 apart in score",
        "50 prompts × 8 samples = 400 rollouts of ≤ 64 tokens; at most 1 pair of a prompt, ≥ 0.5 apart in accuracy",
        "dpo, 1 epoch of up to 100 pairs → 2 optimiser steps of 64 pairs, ≤ 1 micro-batch of ≤ 8,192 tokens",
        "Bradley–Terry, 1 epoch of up to 50 pairs → 1 optimiser step of 64 pairs, ≤ 1 micro-batch of ≤ 8,192 tokens",
        "100 prompts × (8 samples + 1 greedy), chains cut at 0, full tokens = 1,700 rollouts of ≤ 64 tokens",
    ]
    assert {role.role for role in made.roles} == {"engine", "policy", "critic"}


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ("rlvr.prompts_per_step=101", "stages[1].rlvr.prompts_per_step: 101 prompts asked for, 'words' has 100; "),
        ("rlvr.limit=8", "stages[1].rlvr.prompts_per_step: 16 prompts asked for, 'words' has 8; "),
        ("model.build.max_positions=512", "stages[0].sft.max_sequence_tokens: 10240 asked for, the model has 512 "),
        ("engines.kv_cache_mb=1", "engines.kv_cache_mb: 1 hold 2,048 tokens, one sequence has up to 10,240; "),
        ("trainer.ranks=4096", "cluster: 4096 CPUs asked for (engine, 4096 × policy, 4096 × critic), "),
        ("rlvr.objective.overlong_buffer=20000", "stages[1].rlvr.objective.overlong_buffer: 20000 tokens do not fit "),
        ("model.build=null model.path=/no/such/model", "model.path: no such folder: /no/such/model; "),
        ("data.words.path=nowhere.jsonl", "data.words.path: no such file: nowhere.jsonl; "),
    ],
)
def test_what_cannot_be_run_is_said_with_its_place(overrides: str, problem: str) -> None:
    problems = planned(*overrides.split()).problems
    assert problems
    assert problems[0].startswith(problem)
    assert all("\n" not in line for line in problems)


def test_warm_start_without_demonstrations() -> None:
    data = {"words": {"source": "jsonl", "path": "words.jsonl", "fields": {"question": "question"}}}
    assert planned(data=data).problems == [
        "stages[0].sft.data: 'words' has no demonstrations; map `response:` in data.words.fields"
    ]


@pytest.mark.parametrize(
    ("stage", "source", "says"),
    [
        ("dpo", {"source": "reasoning_gym"}, "stages[0].dpo.data: 'words' has no pairs; name a data set"),
        (
            "sft",
            {"source": "reasoning_gym", "args": {"dataset": "basic_arithmetic"}},
            "stages[0].sft.data: 'words' has no dem",
        ),
        ("sft", {"source": "reasoning_gym", "args": {"size": -10}}, "reasoning_gym.size: must be at least 1; got -10"),
        ("curate", {"source": "sounds"}, "stages[0].curate.data: 'words' has sound, the model reads text only; add"),
    ],
)
def test_data_that_a_stage_cannot_use(stage: str, source: dict[str, Any], says: str) -> None:
    problems = planned(data={"words": source}, stages=[{stage: {"data": "words"}}]).problems
    assert any(line.startswith(says) for line in problems), problems


def test_groups_of_one() -> None:
    one = ("rlvr.samples_per_prompt=1", "rlvr.algorithm=grpo")
    assert "no group to compare" in planned(*one).notes[0]
    (problem,) = planned(*one, "rlvr.objective.filter_zero_variance=true").problems
    assert "filter_zero_variance drops it" in problem


def test_a_row_that_is_wrong_is_one_problem_however_many_stages_read_it() -> None:
    Path("bad.jsonl").write_text('{"question": "q", "answer": "a"}\n{"question": 7, "answer": "a"}\n')
    (problem,) = planned("data.words.path=bad.jsonl").problems
    assert problem.startswith("bad.jsonl:2: ")


def test_a_model_that_would_be_computed_wrongly_is_a_problem_where_it_trains(tmp_path: Path) -> None:
    (tmp_path / "capped").mkdir()
    config = QWEN2_32B | {"model_type": "gemma2", "hidden_size": 64, "final_logit_softcapping": 30.0}
    (tmp_path / "capped" / "config.json").write_text(json.dumps(config))
    says = f"model.path: {tmp_path}/capped: final_logit_softcapping: 30.0 in its config.json is not supported"
    assert any(line.startswith(says) for line in planned(model={"path": f"{tmp_path}/capped"}).problems)
    judged = planned(model={"path": f"{tmp_path}/capped"}, stages=[{"evaluate": {"data": "words", "split": None}}])
    assert not any("softcapping" in line for line in judged.problems)


def test_splits_of_a_source_that_has_none_are_the_same_rows() -> None:
    stages: list[dict[str, Any]] = [{"sft": {"data": "words"}}, {"evaluate": {"data": "words"}}]
    note = "data.words has no split column: train and test read the same rows"
    assert note in planned(stages=stages).notes
    whole: list[dict[str, Any]] = [{"sft": {"data": "words"}}, {"evaluate": {"data": "words", "split": None}}]
    assert planned(stages=whole).notes == []
    rows = [{"question": f"q{i}", "answer": "a", "split": "test" if i % 2 else "train"} for i in range(4)]
    Path("parted.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert note not in planned("data.words.path=parted.jsonl", stages=stages).notes


def test_heads_that_do_not_divide_over_gpus() -> None:
    assert big("engines.gpus=3").problems == ["engines.gpus: 40 attention heads do not divide over 3 GPUs"]


# --- the machine and the showing -----------------------------------------------------------------------------------


def test_hidden_gpus_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Machine.here().gpus == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert Machine.here().gpus == 0
    assert Machine.here().cpus == os.cpu_count()
    assert 0 < Machine.here().memory <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_package_of_our_name_in_the_working_directory_is_a_problem() -> None:
    Path("models").mkdir()
    assert shadowed() == []  # a folder of weights, say
    Path("models/__init__.py").write_text("")
    Path("rewards.py").write_text("")
    assert [Path(file).name for file in shadowed()] == ["__init__.py", "rewards.py"]
    assert "models/__init__.py: has the name of a package of ours" in planned().problems[0]


def test_a_cluster_elsewhere_is_not_compared_with_this_machine() -> None:
    made = planned("trainer.ranks=4096", "cluster.address=auto")
    assert made.problems == []
    assert made.present is None
    assert "of the cluster at auto" in rendered(made)
    assert "free" not in made.disk


def test_a_model_that_is_not_here_is_planned_without_its_memory() -> None:
    made = planned(model={"path": "Qwen/Qwen2.5-32B", "dtype": "bfloat16"})
    assert made.roles == []
    assert made.notes == [
        "model.path: 'Qwen/Qwen2.5-32B' is not here; it will be fetched from the hub when the run starts"
    ]
    assert "placement" in rendered(made)


def test_without_a_network_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in planned(model={"path": "Qwen/Qwen2.5-32B"}).problems[0]


def test_disk_counts_every_model_and_checkpoint() -> None:
    made = planned("rlvr.steps=1")
    shape = memory.shape_of({"model_type": "qwen2", **load_shape(), "vocab_size": 271})
    assert shape is not None
    models = round(made.disk["models"] / (4 * shape.parameters))
    assert models == 3  # built, after sft, after rlvr
    # two that stay and one that is being written, of policy and critic: weights, master weights, two moments
    assert made.disk["checkpoints"] == pytest.approx(3 * 2 * 16 * shape.parameters, rel=0.02)
    assert made.disk["rollouts"] == 256 * 10240 * 8
    assert made.disk["free"] > 0


def load_shape() -> dict[str, Any]:
    from models.load import BuildConfig

    return BuildConfig(hidden_size=64, heads=2, layers=1).shape()


def test_it_is_plain_json() -> None:
    values = json.loads(json.dumps(as_json(planned())))
    assert values["bundles"][0]["actors"] == ["engine", "policy", "critic"]
    assert values["roles"][0]["bytes"] > 0
    assert values["problems"] == []


def test_in_short_it_leaves_the_roles_out() -> None:
    made = planned()
    assert "KV cache" in rendered(made)
    assert "KV cache" not in rendered(made, brief=True)
    assert "memory " in rendered(made, brief=True)


def rendered(made: Plan, brief: bool = False) -> str:
    console = Console(width=500, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(made, brief))
    return console.export_text()


def test_a_judge_of_the_runs_own_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "critic"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN2_32B | {"hidden_size": 640, "num_hidden_layers": 2}))
    parts = [{"verifier": "text"}, {"verifier": "judge", "name": "quality", "args": {"served": "critic"}}]
    judges = {"critic": {"model": str(folder), "kv_cache_mb": 100}}
    made = planned(reward={"parts": parts}, judges=judges)
    (judge,) = (role for role in made.roles if role.role == "judge critic")
    shape = memory.described(folder, "judges")
    assert shape is not None
    assert (judge.count, judge.parts["weights"], judge.parts["kv"]) == (1, 2 * shape.parameters, 100 << 20)
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
