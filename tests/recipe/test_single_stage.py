"""`rl eval` and `rl curate`: the recipe of one stage that their flags make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plans import whole

from rl.config import ConfigError
from rl.planning.plan import plan
from rl.recipe import Recipe
from rl.recipe.single_stage import single_stage
from rl.recipe.stage_list import stage_environment

CONFIG = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 4096,
}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model, a run that holds one, and data with columns of several names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for folder, dtype in (("model", "float32"), ("run/model", "bfloat16")):
        whole(Path(folder), {**CONFIG, "torch_dtype": dtype})
    for name, row in {
        "plain": {"question": "q", "answer": "a"},
        "gsm8k": {"question": "q", "answer": "a #### 7", "answer_final": "7"},
        "turns": {"messages": [{"role": "user", "content": "q"}], "answer": "a"},
        "odd": {"text": "q", "label": "a"},
    }.items():
        Path(f"{name}.jsonl").write_text(json.dumps(row) + "\n")


def evaluation(model: str = "model", data: str | None = "plain.jsonl", *more: object, **settings: object) -> Recipe:
    return single_stage("evaluate", model, data, settings, *more)  # type: ignore[arg-type]


def test_defaults() -> None:
    recipe = evaluation()
    (stage,) = recipe.stages
    assert (stage.kind, stage.config.samples, stage.config.split, stage.config.limit) == ("evaluate", 8, None, None)
    assert stage.config.max_sequence_tokens == 4096  # what the model holds, at most 10,240
    assert [part.verifier for part in recipe.header.reward.parts] == ["math"]
    assert (recipe.header.model.path, recipe.header.model.dtype) == ("model", "float32")
    assert plan(recipe).problems == []


def test_what_the_flags_say() -> None:
    (stage,) = evaluation("model", "plain.jsonl", "", "text", samples=2, limit=5, max_sequence_tokens=64).stages
    assert (stage.config.samples, stage.config.limit, stage.config.max_sequence_tokens) == (2, 5, 64)
    (stage,) = single_stage(
        "curate", "model", "plain.jsonl", {"keep": [1, 2], "samples": 4, "reuse": "d.parquet"}
    ).stages
    assert (stage.kind, stage.config.keep, stage.config.reuse) == ("curate", (1, 2), "d.parquet")
    recipe = single_stage(
        "evaluate", "model", "plain.jsonl", {}, overrides=["engines.count=2", "evaluate.greedy=false"]
    )
    assert (recipe.header.engines.count, recipe.stages[0].config.greedy) == (2, False)


def test_a_run_stands_for_its_model() -> None:
    model = evaluation("run").header.model
    assert (model.path, model.dtype) == ("run/model", "bfloat16")


@pytest.mark.parametrize(
    ("data", "fields", "mapping"),
    [
        ("plain", "", {"question": "question", "answer": "answer"}),
        ("gsm8k", "", {"question": "question", "answer": "answer_final"}),
        ("turns", "", {"messages": "messages", "answer": "answer"}),
        ("odd", "question=text, answer=label", {"question": "text", "answer": "label"}),
    ],
)
def test_columns_are_found_or_named(data: str, fields: str, mapping: dict[str, str]) -> None:
    recipe = evaluation("model", f"{data}.jsonl", fields)
    assert recipe.header.data["data"].fields == mapping
    assert plan(recipe).problems == []


def test_parquet() -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"problem": ["q"], "gold": ["a"]}), "rows.parquet")
    data = evaluation("model", "rows.parquet").header.data["data"]
    assert (data.source, data.fields) == ("parquet", {"question": "problem", "answer": "gold"})


RECIPE = """
name: base
model: {build: {}, think: false}
data:
  mine: {source: jsonl, path: plain.jsonl, fields: {question: question, answer: answer}}
reward: {parts: [{verifier: "judge.py:verify"}]}
engines: {count: 3}
stages: [{sft: {data: mine}}, {evaluate: {data: mine, split: null, samples: 5, max_sequence_tokens: 77}}]
"""


def test_a_recipe_lends_its_data_reward_and_engines(tmp_path: Path) -> None:
    (tmp_path / "lent").mkdir()
    Path("lent/base.yaml").write_text(RECIPE)
    Path("lent/judge.py").write_text("def verify(prompt, rollout): ...\n")
    recipe = evaluation("model", None, "", None, "lent/base.yaml", samples=2)
    (stage,) = recipe.stages
    assert (stage.config.data, stage.config.samples, stage.config.max_sequence_tokens) == ("mine", 2, 77)
    assert (recipe.header.engines.count, recipe.header.model.think, recipe.header.model.path) == (3, False, "model")
    assert recipe.folder == Path("lent")
    other = evaluation("model", "gsm8k.jsonl", "", "math", "lent/base.yaml")
    assert other.stages[0].config.data == "data"
    assert [part.verifier for part in other.header.reward.parts] == ["math"]


SPLITS = """
model: {path: model}
data:
  b: {source: jsonl, path: split.jsonl}
  a: {source: jsonl, path: split.jsonl}
  c: {source: jsonl, path: plain.jsonl}
reward: {parts: [{verifier: text}]}
stages:
  - evaluate: {data: b, split: valid, samples: 3, max_sequence_tokens: 64}
  - rlvr: {data: b, split: train}
  - evaluate: {name: after, data: a, split: test, limit: 1, samples: 5, max_sequence_tokens: 64}
"""


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (None, ("a", "test", 1, 5)),
        ("a", ("a", "test", 1, 5)),
        ("b", ("b", "valid", None, 3)),
        ("c", ("c", None, None, 5)),
    ],
)
def test_a_data_set_of_a_recipe_is_read_by_its_own_split(
    data: str | None, read: tuple[str, str | None, int | None, int]
) -> None:
    """The split of another data set may not exist in it, or hold other rows."""
    rows = [{"question": "q", "answer": "a", "split": name} for name in ("train", "valid", "test")]
    Path("split.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("splits.yaml").write_text(SPLITS)
    recipe = evaluation("model", data, "", None, "splits.yaml")
    config = recipe.stages[0].config
    assert (config.data, config.split, config.limit, config.samples) == read
    assert plan(recipe).problems == []


def test_a_recipe_lends_its_temperature() -> None:
    trained, text = "{rlvr: {data: mine, temperature: 0.6}}", RECIPE.replace('"judge.py:verify"', "math")
    Path("base.yaml").write_text(text.replace("{sft: {data: mine}}", trained))
    assert evaluation("model", None, "", None, "base.yaml").stages[0].config.temperature == 0.6
    Path("base.yaml").write_text(text.partition("stages:")[0] + f"stages: [{trained}]")
    assert evaluation("model", "mine", "", None, "base.yaml").stages[0].config.temperature == 0.6
    assert evaluation().stages[0].config.temperature == 1


def test_judges_are_lent_with_the_reward_that_asks_them() -> None:
    asked = "reward: {parts: [{verifier: judge, args: {served: critic}}]}\njudges: {critic: {model: model}}"
    Path("base.yaml").write_text(RECIPE.replace('reward: {parts: [{verifier: "judge.py:verify"}]}', asked))
    kept = evaluation("model", None, "", None, "base.yaml")
    assert kept.header.judges["critic"].model == "model"
    assert "judge critic" in kept.roles
    assert evaluation("model", None, "", "math", "base.yaml").header.judges == {}


@pytest.mark.parametrize(
    ("data", "fields", "says"),
    [
        (None, "", "--data: name a jsonl or parquet file"),
        ("nowhere.jsonl", "", "--data: no such file: nowhere.jsonl"),
        ("model", "", "--data: model is a folder; name a file in it"),
        ("odd.jsonl", "", "--fields: odd.jsonl has no column 'question'; map one of text, label to it"),
        ("plain.jsonl", "question", "--fields: 'question' is not key=column"),
    ],
)
def test_mistakes(data: str | None, fields: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluation("model", data, fields)
    assert str(caught.value).startswith(says)


LENDING = """
model: {path: model}
data: {rows: {source: jsonl, path: plain.jsonl}}
reward: {parts: [{verifier: text}]}
%s
stages:
  - rlvr: {data: rows, split: null%s}
"""


@pytest.mark.parametrize(
    ("header", "stage", "tools"),
    [
        ("environment: calculator", "", ["calculator"]),
        ("", ", environment: {tools: [python]}", ["python"]),
        ("environment: none", "", None),
        ("environment: calculator", ", eval_every: 5, eval: {data: rows, split: null}", ["calculator"]),
        ("environment: calculator", "}\n  - evaluate: {data: rows, split: null, environment: none", None),
        ("", "", None),
    ],
)
def test_a_model_is_judged_with_the_environment_in_which_it_learned(
    header: str, stage: str, tools: list[str] | None
) -> None:
    Path("lending.yaml").write_text(LENDING % (header, stage))
    (judged,) = evaluation("model", "plain.jsonl", "", None, "lending.yaml").stages
    config, _ = stage_environment(judged, None)
    assert (config and config.tools) == tools
    command = single_stage("curate", "model", "plain.jsonl", {}, recipe="lending.yaml").stages[0]
    assert stage_environment(command, None)[0] == config
