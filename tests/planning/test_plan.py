"""The plan: numbers an expert would check by hand, and what it says is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import FIELDS, QWEN2_32B, big, planned, rendered

from models.shape import config_shape
from rl.config import ConfigError
from rl.data.collate import pack
from rl.planning.table import as_json
from rl.stages.workload import micro_batches
from rl.workers.machine import Machine, find_shadowing_modules

pytestmark = pytest.mark.usefixtures("alone")


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


def test_a_temperature_that_is_not_1_is_told() -> None:
    measured = {"data": "words", "split": None, "limit": 20}
    made = planned(
        stages=[
            {"curate": {"data": "words", "limit": 50}},
            {
                "rlvr": {
                    "data": "words",
                    "prompts_per_step": 16,
                    "temperature": 0.7,
                    "eval_every": 200,
                    "eval": measured,
                }
            },
            {"evaluate": {"data": "words", "split": None, "greedy": False}},
        ],
    )
    curate, rlvr, evaluate = (stage.summary for stage in made.stages)
    assert curate.startswith("50 prompts × 8 samples at temperature 0.7 = 400 rollouts of")
    assert rlvr.startswith("ppo, each step 16 prompts × 16 samples at temperature 0.7 = 256 rollouts of")
    assert rlvr.endswith("every 200 steps 20 prompts × (8 samples at temperature 0.7 + 1 greedy)")
    assert evaluate.startswith("100 prompts × 8 samples at temperature 0.7 = 800 rollouts of")
    assert made.notes == ["stages[1].rlvr.eval_every: 200, of 100 steps: nothing is evaluated on the way"]


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
    assert [stage.summary for stage in made.stages] == [
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
    assert [stage.summary for stage in made.stages] == [
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


def test_expected_lengths_tell_what_is_likely_beside_what_is_the_most() -> None:
    def file(**more: int) -> dict[str, Any]:
        return {"source": "jsonl", "path": "words.jsonl", "fields": FIELDS, **more}

    sft = {"sequences_per_step": 10, "max_sequence_tokens": 64}
    stages: list[dict[str, Any]] = [
        {"sft": {"data": {"words": 0.75, "more": 0.25}, **sft}},
        {"distill": {"data": "words", "samples": 4, "keep": {"accuracy": 1}, "max_sequence_tokens": 64}},
        {"sft": {"name": "again", "data": {"distill": 0.5, "more": 0.5}, **sft}},
        {"curate": {"data": "more", "max_sequence_tokens": 16}},
        {"sft": {"name": "untold", "data": {"distill": 0.5, "bare": 0.5}, **sft}},
    ]
    data = {"words": file(expect_tokens=20), "more": file(expect_tokens=40), "bare": file()}
    one: dict[str, Any] = {"engines": {"count": 1}, "trainer": {"ranks": 1}}
    expect = {"train_tflops": 1.0, "engine_tokens_per_second": 100.0}
    made = planned(stages=stages, data=data, cluster={"expect": expect}, **one)
    assert [stage.sequence_tokens for stage in made.stages] == [25, 20, 30, 40, None]
    # 13 steps of 10; 100 prompts × 4; 200 rows, of each half: 20 steps; at most 16 tokens each of 800
    assert [stage.expected_tokens for stage in made.stages] == [130 * 25, 400 * 20, 200 * 30, 800 * 16, 0]
    assert [stage.tokens for stage in made.stages] == [130 * 64, 400 * 64, 200 * 64, 800 * 16, 200 * 64]
    assert made.stages[1].expected_seconds == 400 * 20 / 100
    assert made.stages[1].seconds == 400 * 64 / 100
    assert made.stages[4].expected_seconds == 0
    text = rendered(made)
    assert "at the expected lengths (full where none is expected), up to" in text
    assert "≈ 3,250" in text
    bound = rendered(planned(stages=stages[3:4], data={"more": file()}, cluster={"expect": expect}, **one))
    assert "≈" not in bound
    assert "time       up to 2 min if every sequence has its full length" in bound
    with pytest.raises(ConfigError, match=r"^data\.more\.expect_tokens: must be at least 1; got 0"):
        planned(stages=stages, data={**data, "more": file(expect_tokens=0)})


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
    (problem,) = planned(*one).problems
    assert "with 1 sample 'grpo' has no group to compare it with and nothing is learned; use at least 2" in problem
    assert planned(one[0], "rlvr.algorithm=reinforce++").problems == [], "which compares over the batch"
    (problem,) = planned(*one, "rlvr.objective.filter_zero_variance=true").problems
    assert "filter_zero_variance drops it" in problem


def test_a_row_that_is_wrong_is_one_problem_however_many_stages_read_it() -> None:
    Path("bad.jsonl").write_text('{"question": "q", "answer": "a"}\n{"question": 7, "answer": "a"}\n')
    (problem,) = planned("data.words.path=bad.jsonl").problems
    assert problem.startswith("bad.jsonl:2: ")


def test_a_model_that_would_be_computed_wrongly_is_a_problem_where_it_trains(tmp_path: Path) -> None:
    (tmp_path / "recurrent").mkdir()
    config = QWEN2_32B | {"model_type": "recurrent_gemma", "hidden_size": 64}
    (tmp_path / "recurrent" / "config.json").write_text(json.dumps(config))
    says = f"model.path: {tmp_path}/recurrent: 'recurrent_gemma' has recurrent layers, which are not supported"
    assert any(line.startswith(says) for line in planned(model={"path": f"{tmp_path}/recurrent"}).problems)
    judged = planned(model={"path": f"{tmp_path}/recurrent"}, stages=[{"evaluate": {"data": "words", "split": None}}])
    assert not any("recurrent layers" in line for line in judged.problems)


def test_splits_of_a_source_that_has_none_are_the_same_rows() -> None:
    stages: list[dict[str, Any]] = [{"sft": {"data": "words"}}, {"evaluate": {"data": "words"}}]
    note = "data.words has no split column: train and test read the same rows"
    assert note in planned(stages=stages).notes
    whole: list[dict[str, Any]] = [{"sft": {"data": "words"}}, {"evaluate": {"data": "words", "split": None}}]
    assert planned("sft.sequences_per_step=8", stages=whole).notes == []
    rows = [{"question": f"q{i}", "answer": "a", "split": "test" if i % 2 else "train"} for i in range(4)]
    Path("parted.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert note not in planned("data.words.path=parted.jsonl", stages=stages).notes


def test_more_than_there_is_in_one_step_is_drawn_again() -> None:
    (note,) = planned("sft.sequences_per_step=250").notes
    says = "stages[0].sft.sequences_per_step: 250 asked for, 'words' has 100: each is drawn about 2.5 times in one step"
    assert note == f"{says}; lower it"
    assert planned("sft.sequences_per_step=100").notes == []


def curated(*overrides: str, judged: str = "others", **header: Any) -> tuple[list[str], list[str]]:
    """Problems and notes of an rlvr stage on `words` that takes its difficulties from a stage that judged other data."""
    Path("others.jsonl").write_text("".join(f'{{"question": "r{i}", "answer": "a"}}\n' for i in range(20)))
    words = {"source": "jsonl", "path": "words.jsonl", "fields": FIELDS}
    data = {
        "words": words,
        "same": {**words, "template": "So: {question}"},
        "others": {**words, "path": "others.jsonl"},
    }
    rlvr = {"data": "words", "split": None, "prompts_per_step": 4, "difficulty": "hard"}
    stages = [{"curate": {"name": "hard", "data": judged, "split": None}}, {"rlvr": rlvr}]
    made = planned(*overrides, stages=stages, data=data, **header)
    return made.problems, made.notes


def test_difficulties_of_other_data_are_a_problem() -> None:
    says = "stages[1].rlvr.difficulty: 'hard' judges 'others', not 'words'"
    assert curated() == ([f"{says}, of which no prompt would be left; give both stages the same data"], [])
    ids = [f"data.{name}.fields.id=question" for name in ("words", "others")]  # may be the same in both
    assert curated(*ids) == ([], [f"{says}: only prompts whose id is in both are kept"])
    assert curated(judged="same") == ([], [])
    problems, _ = curated("hard.data={words: 1}", "rlvr.data={words: 1, others: 1}")
    assert [line.partition("'hard' ")[2].partition(",")[0] for line in problems] == ["judges words"]


def test_heads_that_do_not_divide_over_gpus() -> None:
    assert big("engines.gpus=3").problems == ["engines.gpus: 40 attention heads do not divide over 3 GPUs"]


# --- the machine and the showing -----------------------------------------------------------------------------------


def test_hidden_gpus_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Machine.detect().gpus == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert Machine.detect().gpus == 0
    assert Machine.detect().cpus == os.cpu_count()
    assert 0 < Machine.detect().memory <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_package_of_our_name_in_the_working_directory_is_a_problem() -> None:
    Path("models").mkdir()
    assert find_shadowing_modules() == []  # a folder of weights, say
    Path("models/__init__.py").write_text("")
    Path("rewards.py").write_text("")
    assert [Path(file).name for file in find_shadowing_modules()] == ["__init__.py", "rewards.py"]
    assert "models/__init__.py: has the name of a package of ours" in planned().problems[0]


def test_a_cluster_elsewhere_is_not_compared_with_this_machine() -> None:
    made = planned("trainer.ranks=4096", "cluster.address=auto")
    assert made.problems == []
    assert made.present is None
    assert "of the cluster at auto" in rendered(made)
    assert "free" not in made.disk


def test_a_model_that_is_not_here_is_planned_without_its_memory() -> None:
    made = planned("sft.sequences_per_step=8", model={"path": "Qwen/Qwen2.5-32B", "dtype": "bfloat16"})
    assert made.roles == []
    assert made.notes == [
        "model.path: 'Qwen/Qwen2.5-32B' is not here; it will be fetched from the hub when the run starts"
    ]
    assert "placement" in rendered(made)


@pytest.mark.parametrize("path", ["HuggingFaceTB/SmolLM2-135M-Instruct", "smolm2-135m-instruct-q4"])
def test_a_model_that_needs_no_hub_is_named_beside_one_that_does(path: str) -> None:
    (note,) = planned("sft.sequences_per_step=8", model={"path": path}).notes
    assert "('smollm2-135m-instruct-q4' needs no hub: a language model of 135 million" in note


def test_without_a_network_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in planned(model={"path": "Qwen/Qwen2.5-32B"}).problems[0]


def test_disk_counts_every_model_and_checkpoint() -> None:
    made = planned("rlvr.steps=1")
    shape = config_shape({"model_type": "qwen2", **load_shape(), "vocab_size": 271})
    assert shape is not None
    models = round(made.disk["models"] / (4 * shape.parameters))
    assert models == 3  # built, after sft, after rlvr
    # two that stay and one that is being written, of policy and critic: weights, master weights, two moments
    assert made.disk["checkpoints"] == pytest.approx(3 * 2 * 16 * shape.parameters, rel=0.02)
    assert made.disk["rollouts"] == 256 * 10240 * 8
    assert made.disk["free"] > 0


def load_shape() -> dict[str, Any]:
    from models.settings import BuildConfig

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


def test_an_encoder_that_trains_is_planned(tmp_path: Path) -> None:
    build = {"hidden_size": 64, "heads": 2, "layers": 1}
    hears = {"build": {**build, "audio": {}}}
    frozen, trained = planned(model=hears), planned("model.train_encoder=true", model=hears)
    policy = [next(role for role in made.roles if role.role == "policy") for made in (frozen, trained)]
    assert policy[0].parts["optimizer"] < policy[1].parts["optimizer"]
    with pytest.raises(ConfigError, match=r"^model\.train_encoder: the model reads text only; add `audio: \{\}`"):
        planned("model.train_encoder=true")
    with pytest.raises(ConfigError, match=r"^trainer\.zero_stage: 3 does not work .*; use 2$"):
        planned("model.train_encoder=true", "trainer.zero_stage=3", model=hears)
    scored = {"parts": [{"verifier": "reward_model", "args": {"model": str(tmp_path)}}]}
    with pytest.raises(ConfigError, match=r"^reward: a reward model hears with the policy's encoder"):
        planned("model.train_encoder=true", model=hears, reward=scored)
    (Path("text")).mkdir()
    Path("text/config.json").write_text(json.dumps(QWEN2_32B))
    problems = planned("model.train_encoder=true", model={"path": "text"}).problems
    assert "model.train_encoder: text reads text only and has no encoder to train; remove it" in problems


# --- judges --------------------------------------------------------------------------------------------------------


def test_what_is_asked_of_judges_behind_an_address() -> None:
    """Each of them one note: the questions of each stage at most, two for each comparison in both orders."""
    at = {"endpoint": "http://judge:8000/v1", "model": "m"}
    small = {"endpoint": "http://small:8000/v1", "model": "s"}
    compared = {"verifier": "judge", "name": "preferred", "weight": 0.3, "args": {**at, "against": "answer"}}
    part = {"verifier": "judge", "name": "judged", "only_if": "accuracy", "args": at}
    parts = [{"verifier": "text", "weight": 0.7}, compared]
    limit = {"data": "words", "max_sequence_tokens": 64}
    block = {"distill": {**limit, "select_by": {"verifier": "judge", "args": {**small, "rubric": "perception"}}}}
    block["distill"] |= {"reward": {"parts": [parts[0], part]}, "limit": 50}
    jointly = {**limit, "steps": 10, "prompts_per_step": 4, "samples_per_prompt": 8, "reward": {"parts": parts}}
    jointly |= {"objective": {"kl_coef": 0.05}, "eval_every": 5, "eval": {**limit, "samples": 1}}
    made = planned(stages=[{"sft": limit}, {"repeat": {"times": 3, "stages": [block]}}, {"rlvr": jointly}])
    assert made.problems == []
    assert made.notes[-2:] == [
        "judge http://small:8000/v1 (s): asked at most 50 questions by distill.select_by; whether it answers is seen "
        "before the first stage",
        "judge http://judge:8000/v1 (m): asked at most 1,200 questions by distill and 640 questions by rlvr and 800 "
        "questions by rlvr.eval; whether it answers is seen before the first stage",
    ]
    assert {role.role for role in made.roles} == {"engine", "policy", "critic", "reference"}, "KL has a reference"
    said = next(stage.summary for stage in made.stages if stage.kind == "distill")
    assert said.startswith("50 prompts, as far as 'judge' gives the question 0.5 or more, × 8 samples = 400 rollouts")
    hub = {"words": {"source": "huggingface", "path": "some/words", "fields": FIELDS}}
    unread = planned(stages=[{"evaluate": limit}], data=hub, reward={"parts": [part | {"only_if": None}]})
    assert any("asked at most an unknown number of questions by evaluate" in note for note in unread.notes)
