"""Plans for GPUs that are not here: bundled recipes on one, eight and 64 of them, fixes that help, formulas of every number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from plans import GIB, QWEN2_32B

from rl.planning.duration import BANDWIDTH, FLOPS
from rl.planning.expected import expect_overrides
from rl.planning.explanation import explain
from rl.planning.plan import Plan, plan
from rl.recipe import load

pytestmark = pytest.mark.usefixtures("alone")

QWEN_14B = QWEN2_32B | {"num_hidden_layers": 48, "intermediate_size": 13824}


def on(gpus: str, recipe: str, *overrides: str) -> Plan:
    return plan(load(recipe, [*overrides, *expect_overrides(gpus)]))


def problems(result: Plan) -> list[str]:
    return [line for line in result.problems if ": no such file: " not in line]


def override(key: str, values: dict[str, Any]) -> list[str]:
    return [f"{key}.{name}={str(value).lower()}" for name, value in values.items()]


@pytest.mark.parametrize("gpus", ["1x80", "8x80", "64x80"])
@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [("quickstart", []), ("gsm8k", []), ("gsm8k_7b", []), ("gsm8k_7b", ["model.lora.rank=16"])],
)
def test_bundled_recipes_fit_the_gpus_that_they_fill(gpus: str, recipe: str, overrides: list[str]) -> None:
    result = on(gpus, recipe, *overrides)
    assert problems(result) == []
    assert max(result.devices) < 80 * GIB
    count = int(gpus.partition("x")[0])
    assert {role.role: role.count for role in result.roles}["policy"] == count
    assert sum(bundle.gpus for bundle in result.placed) == count
    assert result.engine_share is not None
    assert result.kv_tokens > 10 * 10_240
    assert all(stage.seconds > 0 for stage in result.stages if stage.tokens)


def test_an_adapter_of_14b_trains_beside_its_engine_on_one_gpu() -> None:
    result = on("1x80", "gsm8k_7b", "model.lora.rank=16", *override("model.expect", QWEN_14B))
    assert "14.8B parameters" in result.model
    assert problems(result) == []
    assert max(result.devices) < 80 * GIB


def test_more_gpus_take_less_time() -> None:
    times = [sum(stage.seconds for stage in on(gpus, "gsm8k").stages) for gpus in ("1x80", "8x80", "64x80")]
    assert times[0] > 5 * times[1] > 5 * times[2]
    (sft,) = (stage for stage in on("1x80", "gsm8k").stages if stage.kind == "sft")
    products = 8 * 1.543e9 * sft.tokens / FLOPS
    elementwise = 4 * 2.98e6 * sft.tokens / BANDWIDTH
    assert sft.seconds == pytest.approx(products + elementwise, rel=0.1), "8 P operations a token, checkpointed"


OFFLOADED = "trainer.deepspeed.zero_optimization.offload_optimizer.device"


@pytest.mark.parametrize(
    ("recipe", "gpus", "overrides", "fix"),
    [
        ("gsm8k_7b", "1x80", [f"{OFFLOADED}=none"], f"set {OFFLOADED}=cpu"),
        ("gsm8k", "1x80", ["engines.vllm.gpu_memory_utilization=0.95"], "set engines.vllm.gpu_memory_utilization=0.86"),
        ("gsm8k", "1x24", [], f"set {OFFLOADED}=cpu"),
        ("step_audio_r1", "8x80", [], f"set {OFFLOADED}=cpu"),
    ],
)
def test_what_is_too_large_names_a_change_that_helps(recipe: str, gpus: str, overrides: list[str], fix: str) -> None:
    (problem,) = problems(on(gpus, recipe, *overrides))
    said = re.fullmatch(
        r"memory: about \d+ GiB needed on a GPU, \d+ GiB expected; (set ([^;,]+))(, or leave it out)?", problem
    )
    assert said, problem
    assert said[1] == fix
    assert problems(on(gpus, recipe, *overrides, *said[2].split(" and "))) == []


def test_a_recipe_without_actors_fits_any_gpus(tmp_path: Path) -> None:
    """It reads what is there already: nothing is held against the GPUs."""
    (tmp_path / "recipe.yaml").write_text(
        "model: {build: {hidden_size: 64, heads: 2, layers: 1}}\n"
        "data: {words: {source: reasoning_gym, args: {dataset: spell_backward, size: 60}}}\n"
        "reward: {parts: [{verifier: text}]}\nstages: [distill: {data: words, chains: chains.jsonl}]\n"
    )
    result = on("8x80", str(tmp_path / "recipe.yaml"))
    assert (result.placed, result.devices, problems(result)) == ([], [], [])


def test_what_no_change_helps_is_told_too() -> None:
    result = on("1x80", "gsm8k_7b", *override("model.expect", QWEN2_32B | {"num_hidden_layers": 200}))
    problem = next(line for line in result.problems if line.startswith("memory: "))
    assert "use more GPUs (trainer.ranks with zero_stage 3, engines.gpus) or a smaller model" in problem


def test_every_number_of_memory_and_time_has_its_formula() -> None:
    result = on("8x80", "gsm8k")
    for role in result.roles:
        assert {part for part, count in role.parts.items() if count} == role.formulas.keys()
    lines = list(explain(result))
    assert "  weights: 2 B × 1.5B parameters = 2.9 GiB" in lines
    assert "  optimizer: 12 B × 1.5B / 8 ranks (master weights 4 and AdamW's moments 8) = 2.2 GiB" in lines
    assert any(line.startswith("  KV cache: 0.9 of 80 GiB less weights and other = ") for line in lines)
    assert sum(line.startswith("time of ") for line in lines) == sum(stage.tokens > 0 for stage in result.stages) > 0
    assert any(line.startswith("an engine's share of a GPU: 0.9 of 80 GiB") for line in lines)
    on_cpu = plan(load("quickstart", ["engines.count=1"]))
    assert any(line.startswith("  KV cache: kv_cache_mb = 512 MiB") for line in explain(on_cpu))
    assert not any("on the GPU" in line or line.startswith("time of") for line in explain(on_cpu))


def test_trainers_that_do_not_leave_the_gpu_are_counted() -> None:
    stay = on("1x80", "gsm8k", "trainer.offload_between_turns=false")
    leave = on("1x80", "gsm8k")
    assert stay.engine_share is not None
    assert leave.engine_share is not None
    # Masters, moments and gradients of policy and critic: 2 × 16 bytes of 1.5 B parameters, of 80 GiB.
    assert leave.engine_share - stay.engine_share == pytest.approx(2 * 16 * 1.543e9 / (80 * GIB), abs=0.03)
    of = {role.role: role for role in leave.roles}
    assert of["policy"].host == pytest.approx(16 * 1.5437e9, rel=0.001)


def test_attention_that_bounds_its_scores_keeps_them() -> None:
    gemma = QWEN2_32B | {"model_type": "gemma2", "attn_logit_softcapping": 50.0}
    results = [
        on("64x80", "gsm8k_7b", "model.gradient_checkpointing=false", *override("model.expect", config))
        for config in (QWEN2_32B, gemma)
    ]
    plain, capped = ({role.role: role for role in p.roles}["policy"].parts["activations"] for p in results)
    assert capped - plain == pytest.approx((64 + 0.4) * 40 * 2048 * 8 * 4096, rel=0.01)
