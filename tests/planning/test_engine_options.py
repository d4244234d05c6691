"""What `rl check` says of engine options, of where things come from, and of prompts that do not fit."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rl.planning.engine_options import DEEPSPEED_KEYS, vllm_options, zero_options
from rl.planning.plan import plan
from rl.recipe import load

VALUES: dict[str, Any] = {
    "name": "tiny",
    "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
    "data": {"d": {"source": "jsonl", "path": "rows.jsonl", "fields": {"response": "answer"}}},
    "reward": {"parts": [{"verifier": "text"}]},
    "engines": {"kv_cache_mb": 64},
    "stages": [{"evaluate": {"data": "d", "split": None, "max_sequence_tokens": 64}}],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "2"}) + "\n")


def problems(*overrides: str) -> list[str]:
    return plan(load(VALUES, overrides)).problems


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("engines.vllm.gpu_memory_utilisation=0.5", "engines.vllm.gpu_memory_utilisation: vLLM's EngineArgs have no such option; did you mean 'gpu_memory_utilization'?"),
        ("engines.vllm.kv_cache=1", "engines.vllm.kv_cache: vLLM's EngineArgs have no such option; "),
        ("engines.vllm={model: x}", "engines.vllm.model: set model.path instead"),
        ("engines.vllm.dtype=half", "engines.vllm.dtype: set model.dtype instead"),
        ("engines.vllm.tensor_parallel_size=2", "engines.vllm.tensor_parallel_size: set engines.gpus instead"),
        ("engines.vllm.xyz=1", "engines.vllm.xyz: vLLM's EngineArgs have no such option; correct or remove it"),
        ("trainer.deepspeed.zero_optimisation={stage: 2}", "trainer.deepspeed.zero_optimisation: DeepSpeed's config has no such option; did you mean 'zero_optimization'?"),
        ("trainer.deepspeed={'': 1}", "trainer.deepspeed.: DeepSpeed's config has no such option; "),
        ("trainer.deepspeed.zero_optimization={offload_optimiser: {device: cpu}}", "zero_optimization.offload_optimiser: DeepSpeed has no such option; did you mean 'offload_optimizer'?"),
    ],
)  # fmt: skip
def test_options_that_a_library_does_not_have(override: str, says: str) -> None:
    assert any(says in line for line in problems(override)), problems(override)


def test_options_that_it_has() -> None:
    zero = "{overlap_comm: true, stage3_prefetch_bucket_size: 1, reduce_bucket_size: 500, offload_optimizer: {device: cpu}}"
    assert problems("engines.vllm.max_num_seqs=4", f"trainer.deepspeed.zero_optimization={zero}") == []
    assert problems("trainer.deepspeed={wall_clock_breakdown: true, activation_checkpointing: {}, aio: {}}") == []
    assert problems("trainer.deepspeed={disable_python_gc: true, log_level: info}") == []


@pytest.mark.skipif(find_spec("vllm") is None or find_spec("deepspeed") is None, reason="needs the engines")
def test_the_names_are_those_of_the_installed_libraries() -> None:
    assert {"max_num_seqs", "gpu_memory_utilization", "enforce_eager", "dtype"} <= vllm_options()
    assert {"stage", "stage3_max_live_parameters", "offload_param", "overlap_comm"} <= zero_options()
    spec = find_spec("deepspeed")
    assert spec
    assert spec.origin
    source = "".join(file.read_text(errors="replace") for file in Path(spec.origin).parent.rglob("*.py"))
    assert [key for key in sorted(DEEPSPEED_KEYS) if f'"{key}"' not in source and f"'{key}'" not in source] == []


def test_prompts_longer_than_the_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    long = "x" * 80
    Path("rows.jsonl").write_text("".join(json.dumps({"question": q, "answer": "2"}) + "\n" for q in ("1?", long)))
    (line,) = problems()
    assert line == (
        "stages[0].evaluate.max_sequence_tokens: 64, and prompt 'rows/2' of 'd' has at least 80 tokens and leaves no room for an "
        "answer; raise it or drop the row"
    )
    assert problems("evaluate.max_sequence_tokens=200") == []
    assert problems("evaluate.limit=1") == []
    stage = {"sft": {"data": "d", "split": None, "max_sequence_tokens": 81, "sequences_per_step": 1}}
    (line,) = plan(load({**VALUES, "stages": [stage]})).problems
    assert "has at least 81 tokens with its demonstration" in line
    elsewhere = {**VALUES, "model": {"path": "some/model"}}
    assert plan(load(elsewhere)).problems == []  # some 20 tokens, by a tokenizer that is not here
    notes = plan(load(elsewhere, ["evaluate.max_sequence_tokens=16"])).notes
    assert any("16, and prompt 'rows/2' of 'd' has about 20 tokens" in note for note in notes), notes


def test_where_models_and_data_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    data = {**VALUES["data"], "hub": {"source": "huggingface", "path": "openai/gsm8k"}}
    data["task"] = {"source": "reasoning_gym", "args": {"dataset": "spell_backward"}}
    stages = [{"evaluate": {"name": name, "data": name, "split": None}} for name in ("d", "hub", "task")]
    values = {**VALUES, "data": {name: data[name] for name in data}, "model": {"path": "some/model"}}
    values["stages"] = [{"evaluate": {**stage["evaluate"], "name": f"on-{i}"}} for i, stage in enumerate(stages)]
    hub = "from the hub, which needs the network unless it is in the cache"
    assert plan(load(values)).origins == [
        f"model some/model: {hub}",
        "data d, rows.jsonl: from disk",
        f"data hub, openai/gsm8k: {hub}",
    ]
