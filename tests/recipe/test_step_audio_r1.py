"""The report's recipe (arXiv 2511.15848) at full scale: its numbers, and that it is planned with nothing there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rl.data.mixture import limits, weights_of
from rl.planning.plan import Plan, plan
from rl.planning.table import render_plan
from rl.recipe import Recipe, load
from rl.types import Clip, Prompt
from rl.units import GIB

OPTIMAL = {"clip_low": 0.2, "clip_high": 0.2, "gamma": 1.0, "lam": 1.0, "kl_coef": 0.0}


def stages(recipe: Recipe, name: str) -> list[object]:
    return [stage.config for stage in recipe.stages if stage.base == name]


@pytest.mark.usefixtures("alone")
def test_every_knob_of_the_report_is_in_the_recipe() -> None:
    recipe = load("step_audio_r1")
    assert recipe.roles == {"engine", "policy", "critic"}, "no reference: the KL coefficient is 0"
    (cold,) = stages(recipe, "cold_start")
    assert (cold.limit, cold.data["audio_sft"]) == (5_000_000, 0.8)  # type: ignore[attr-defined]
    rlvr = [stage.config for stage in recipe.stages if stage.kind == "rlvr"]
    assert len(rlvr) == 4
    for config in rlvr:
        assert (config.algorithm, config.samples_per_prompt, config.max_sequence_tokens) == ("ppo", 16, 10240)
        goal = config.build_objective()
        assert {name: getattr(goal, name) for name in OPTIMAL} == OPTIMAL
        assert goal.critic
        assert config.optimiser_steps == 1, "on-policy"
    curates = {"text_rlvr": "text_curate", "audio_rlvr": "curate"}
    for learns, filters in curates.items():  # filtered first, by the model that is going to learn, and then capped
        for curate in stages(recipe, filters):
            assert (curate.samples, list(curate.keep)) == (8, [3, 6])  # type: ignore[attr-defined]
        for config in stages(recipe, learns):
            assert config.difficulty == filters  # type: ignore[attr-defined]
            assert (
                limits(config.data, config.limit)
                == {  # type: ignore[attr-defined]
                    "text_rlvr": {"text_rl": 2000},
                    "audio_rlvr": {"text_rl": 2000, "audio_rl": 3000},
                }[learns]
            )
    taken = {(read.stage.base, read.data): read.limit for read in recipe.loads()}
    for data, capped in (("text_rl", 2000), ("audio_rl", 3000)):
        assert taken["audio_rlvr", data] is None, "whatever is kept, wherever it stands"
        assert taken["curate", data] >= 4 * capped, "a pool that is large enough to choose from"  # type: ignore[operator]
    for recipe_of in (recipe, load("step_audio_r1_mini")):  # prompts of medium difficulty for the model of t - 1
        block = [stage.kind for stage in recipe_of.stages if stage.iteration == 1]
        assert block == ["curate", "distill", "sft", "rlvr", "evaluate"]
        (paired,) = stages(recipe_of, "pairs")
        assert (paired.by, paired.chosen.keys()) == ("self_cognition", {"accuracy", "grounding"})  # type: ignore[attr-defined]
    (dpo,) = stages(recipe, "dpo")
    assert dpo.limit == 8000  # type: ignore[attr-defined]
    for distill in stages(recipe, "distill"):
        assert (distill.select_by.verifier, distill.select_by.args["rubric"]) == ("judge", "perception")  # type: ignore[attr-defined]
        assert [part.only_if for part in distill.reward.parts if part.name == "judge"] == [{"accuracy": 1.0}]  # type: ignore[attr-defined]
    weights = {part.verifier: part.weight for part in recipe.header.reward.parts}
    assert weights["math"] == weights["code"] == {"text": 1}, "text is right or wrong"
    assert (weights["choice"], weights["format"]) == ({"audio": 0.8}, {"audio": 0.2})


@pytest.mark.usefixtures("alone")
def test_every_kind_of_audio_question_has_one_judge_of_its_answer() -> None:
    recipe = load("step_audio_r1")
    (distill, *_) = stages(recipe, "distill")
    by_kind = {"choice": "choice", "number": "numeric", "open": "judge"}
    for reward in (recipe.header.reward, distill.reward):  # type: ignore[attr-defined]
        for kind, verifier in by_kind.items():
            asked = Prompt("p", (), clips=(Clip("a.wav"),), source="pitch", fields={"kind": kind})
            judges = [part.verifier for part in reward.parts if part.applies(asked) and part.name == "accuracy"]
            assert judges == [verifier]
    judge = next(part for part in recipe.header.reward.parts if part.verifier == "judge")
    assert (judge.args["rubric"], judge.args["scale"]) == ("right", 1), "right or wrong, as the report has it"


@pytest.mark.parametrize("name", ["step_audio_r1", "step_audio_r1_mini"])
@pytest.mark.usefixtures("alone")
def test_denials_are_measured_before_after_mgrd_and_after_dpo(name: str) -> None:
    recipe = load(name)
    names = [stage.base for stage in recipe.stages if stage.iteration <= 1]
    order = ["denials_before", "distill", "denials_distilled", "dpo", "denials"]
    assert [stage for stage in names if stage in order] == order
    measured = [stage.config for stage in recipe.stages if stage.base.startswith("denials")]
    learners = [stage for stage in recipe.stages if not stage.facts.measures]
    trained = {
        (name, read.split) for stage in learners for read in stage.config.reads for name in weights_of(read.data)
    }
    for config in measured:
        assert (config.data, config.split, config.limit) == (measured[0].data, measured[0].split, measured[0].limit)
        assert (config.data, config.split) not in trained, "prompts that no stage learns from"
        assert config.stage_reward is None
    assert any(part.name == "self_cognition" for part in recipe.header.reward.parts)
    if name == "step_audio_r1":
        assert measured[0].limit == 5000


@pytest.mark.usefixtures("alone")
def test_it_is_planned_for_64_gpus_and_lacks_nothing_but_data() -> None:
    made = plan(load("step_audio_r1"))
    assert made.problems
    assert all(": no such file: " in problem and problem.startswith("data.") for problem in made.problems)
    of = {role.role: role for role in made.roles}
    # Qwen2.5-32B with 158,720 words in and out, and the adapter; 636,968,960 of the encoder
    trained, p = 32_763_876_352 + 2 * 6656 * 5120 + 18_030_848, 33_487_033_600
    assert "33.5B parameters" in made.model
    # 18 bytes a parameter over 64 ranks: weights 2, gradients in float32 4, AdamW's moments and masters 12; the encoder
    # stays whole and has no states; the critic has no head
    assert of["policy"].certain == 18 * trained / 64
    assert of["critic"].certain == 18 * (trained - 158_720 * 5120) / 64
    assert of["engine"].parts["weights"] == 2 * p / 8
    assert [bundle.gpus for bundle in made.placed] == [8] * 8
    assert max(made.devices) < 80 * GIB
    assert made.kv_tokens > 100 * 10_240, "of sequences of full length"
    # text RLVR: 6 + 2 · checkpointing, for policy and critic, and the critic's values: 18 P operations a token
    (text,) = (stage for stage in made.stages if stage.name == "text_rlvr")
    tokens = 60 * 64 * 16 * 10_240
    assert text.tokens == tokens
    active = 64 * (5120 * (2 * 5120 + 2 * 1024) + 3 * 5120 * 27648) + 158720 * 5120
    assert text.seconds == pytest.approx(18 * active * tokens / (64 * 350e12) + tokens / (8 * 6000))
    assert text.expected_tokens == 60 * 64 * 16 * 2500
    assert text.expected_seconds == pytest.approx(text.seconds * 2500 / 10_240)
    cold, imitate = (next(s for s in made.stages if s.name == name) for name in ("cold_start", "imitate@2"))
    assert cold.expected_tokens == 9766 * 512 * 1000, "1 B of text and 4 B of audio"
    assert imitate.expected_tokens == 391 * 256 * 1750, "half distilled chains, half the original text"
    assert all(stage.expected_tokens for stage in made.stages)


@pytest.mark.usefixtures("alone")
def test_what_is_shown() -> None:
    text = shown(plan(load("step_audio_r1")))
    for part in (
        "1 epoch of 5,000,000 prompts of task_cot (10%) + chat_cot (10%) + audio_sft (80%)",
        "ppo, each step 64 prompts × 16 samples = 1,024 rollouts of ≤ 10,240 tokens",
        "50,000 prompts, those from timbre, pitch, rhythm, tempo, loudness or background, as far as 'judge' gives the "
        "question 0.5 or more, × 8 samples",
        "50,000 questions by distill.select_by and 2,400,000 questions by distill and ",
        "drawn from at most 2,000 prompts of what is kept of all prompts of 'text_rl'",
        "keeps prompts with 3 to 6 right",
        "1 epoch of up to 8,000 pairs",
        "audio_rlvr@1 … 3",
        "64 GPUs and 64 CPUs of 64 and 768 expected on 8 nodes: 8 × [8 CPU + 8 GPU: engine 8 policy 8 critic]",
        "again silenced, swapped, shuffled",
        "time       about 2.6 days at the expected lengths, up to 14.7 days if every sequence has its full length, at 350",
    ):
        assert part in text
    assert "distill@2" not in text, "an iteration that does the same takes no lines of its own"
    assert "{" not in text
    lines = shown(plan(load("step_audio_r1")), 120).splitlines()
    assert any(line.rstrip().endswith("≤ 51.2B     ≤ 6.8 days") for line in lines)
    assert any(line.rstrip().endswith("≈ 5B       ≈ 15.9 h") for line in lines)


@pytest.mark.usefixtures("alone")
def test_a_model_that_is_another_than_expected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("small").mkdir()
    config = {"model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    Path("small/config.json").write_text(json.dumps({**config, "vocab_size": 300}))
    monkeypatch.setenv("STEP_AUDIO_MODEL", "small")
    (problem,) = (p for p in plan(load("step_audio_r1")).problems if p.startswith("model"))
    assert problem.startswith("model.expect: hidden_size 5120 expected, small/config.json has 64; ")


@pytest.mark.usefixtures("alone")
def test_machines_that_are_too_small_are_named() -> None:
    def problems(override: str) -> str:
        return "\n".join(plan(load("step_audio_r1", [f"cluster.expect.{override}"])).problems)

    assert "needed on a GPU, 20 GiB expected; " in problems("gpu_memory_gb=20")
    assert "engines.gpus: beside the weights an engine's cache holds 0 tokens" in problems("gpu_memory_gb=13")
    assert "GPUs asked for" not in problems("nodes=4"), "counts follow the machines"


@pytest.mark.usefixtures("alone")
def test_a_plan_of_millions_of_prompts_imports_nothing_heavy() -> None:
    heavy = ["torch", "ray", "transformers", "vllm", "deepspeed", "datasets", "pyarrow"]
    program = (
        "import sys; from rl.planning.plan import plan; from rl.recipe import load; plan(load('step_audio_r1'));"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | path, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def shown(made: Plan, width: int = 500) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render_plan(made))
    return console.export_text()
