"""Recipes: from YAML, what it extends and overrides to checked stages."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import bundled
from rl.config import ConfigError
from rl.data.paths import data_files
from rl.recipe import load
from rl.recipe.loader import find

BASE = """
name: base
seed: 3
model: {build: {hidden_size: 64, heads: 2, layers: 1}}
data:
  words: {source: reasoning_gym, args: {dataset: spell_backward, size: 60}}
reward:
  parts: [{verifier: text, weight: 0.8}, {verifier: format, name: format, weight: 0.2}]
stages:
  - sft: {data: words, epochs: 2}
  - curate: {data: words, samples: 4, keep: [1, 3]}
  - rlvr: {data: words, difficulty: curate, steps: 5, critic: sft}
  - evaluate: {name: after, data: words, max_sequence_tokens: 99}
"""


@pytest.fixture(autouse=True)
def _base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_stages_in_order_with_their_configs() -> None:
    recipe = load("base.yaml")
    assert [(stage.name, stage.kind) for stage in recipe.stages] == [
        ("sft", "sft"),
        ("curate", "curate"),
        ("rlvr", "rlvr"),
        ("after", "evaluate"),
    ]
    sft, curate, rlvr, after = (stage.config for stage in recipe.stages)
    assert (sft.epochs, curate.keep, rlvr.steps, after.max_sequence_tokens) == (2.0, (1, 3), 5, 99)
    assert recipe.header.seed == 3
    assert recipe.max_sequence_tokens == 10240
    assert recipe.folder == Path()
    assert recipe.stages[2].place == "stages[2].rlvr"


def test_what_extends_says_only_what_differs() -> None:
    write("middle.yaml", "extends: base\nrlvr: {steps: 7, optimizer: {warmup_steps: 2}}\n")
    write("top.yaml", "extends: middle.yaml\nname: top\nrlvr: {optimizer: {learning_rate: 1e-5}}\nafter: {limit: 9}\n")
    recipe = load("top.yaml")
    rlvr, after = recipe.stages[2].config, recipe.stages[3].config
    assert recipe.name == "top"
    assert (rlvr.steps, rlvr.optimizer.warmup_steps, rlvr.optimizer.learning_rate) == (7, 2, 1e-5)
    assert (after.limit, after.max_sequence_tokens) == (9, 99)


def test_files_beside_a_recipe_are_found_from_the_folder_of_one_that_extends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("shop/mine").mkdir(parents=True)
    Path("shop/parts").mkdir()
    for name in ("rows.jsonl", "parts/a.jsonl", "parts/b.jsonl"):
        write(f"shop/{name}", '{"question": "1+1", "answer": "2"}\n')
    write("shop/tasks.py", "def sums(split): ...\n\ndef judge(prompt, rollout): ...\n")
    write("tasks.py", "def judge(prompt, rollout): raise ValueError('of the working directory')\n")
    write(
        "shop/lent.yaml",
        "extends: ../base.yaml\n"
        "data:\n"
        "  sums: {source: 'tasks.py:sums'}\n"
        # a text that is longer than the name of any file
        f"  rows: {{source: jsonl, path: [rows.jsonl, 'parts/*.jsonl'], system: '{'Think. Then answer. ' * 40}'}}\n"
        "  tasks: {source: 'tasks.py:sums'}\n"
        "reward: {parts: [{verifier: 'tasks.py:judge'}]}\n",
    )
    write("shop/mine/own.yaml", "extends: ../lent.yaml\nrlvr: {steps: 7}\n")
    recipe, shop = load("shop/mine/own.yaml", check=False), Path("shop").resolve()
    source = recipe.header.data["sums"].source
    assert (Path(source.partition(":")[0]).resolve(), source[-5:]) == (shop / "tasks.py", ":sums")
    assert [*map(Path.resolve, data_files(recipe.header.data["rows"].path, "rows"))] == [
        shop / "rows.jsonl", shop / "parts/a.jsonl", shop / "parts/b.jsonl",
    ]  # fmt: skip
    assert recipe.header.reward.parts[0].verifier == "../tasks.py:judge", "as if it had been written there"
    assert "tasks" in recipe.header.data, "a name is no file"
    # Beside the file that says so nothing changes.
    assert load("shop/lent.yaml", check=False).header.reward.parts[0].verifier == "tasks.py:judge"


def test_a_recipe_that_extends_itself() -> None:
    write("a.yaml", "extends: b\n")
    write("b.yaml", "extends: a\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: extends itself, through a\.yaml -> b\.yaml"):
        load("a.yaml")


def test_overrides_go_deep_and_win() -> None:
    recipe = load(
        "base.yaml",
        ["rlvr.optimizer.learning_rate=3e-5", "after.limit=4", "stages[0].sft.epochs=1", "reward.parts.0.weight=1"],
    )
    sft, _, rlvr, after = (stage.config for stage in recipe.stages)
    assert (sft.epochs, rlvr.optimizer.learning_rate, after.limit) == (1.0, 3e-5, 4)
    assert [part.weight for part in recipe.header.reward.parts] == [1.0, 0.2]


def test_an_override_may_hold_what_yaml_holds() -> None:
    recipe = load(
        "base.yaml",
        ["engines.vllm={max_num_seqs: 8}", "curate.keep=[2, 2]", "after.split=null"],
    )
    assert recipe.header.engines.vllm == {"max_num_seqs": 8}
    assert recipe.stages[1].config.keep == (2, 2)
    assert recipe.stages[3].config.split is None


def test_interpolation_sees_overrides_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDTONE_TEST", "12")
    write(
        "i.yaml", "extends: base\nrlvr: {steps: '${oc.decode:${oc.env:GROUNDTONE_TEST}}'}\nafter: {limit: '${seed}'}\n"
    )
    recipe = load("i.yaml", ["seed=8"])
    assert recipe.stages[2].config.steps == 12
    assert recipe.stages[3].config.limit == 8


def test_what_is_saved_makes_the_same_recipe() -> None:
    recipe = load("base.yaml", ["rlvr.steps=6"])
    again = load(recipe.source, folder=recipe.folder)
    assert again.stages == recipe.stages
    assert again.header == recipe.header
    assert again.source == recipe.source


def test_a_mapping_looks_files_up_where_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write("elsewhere/judge.py", "def verify(prompt, rollout):\n    ...\n")
    values: dict[str, Any] = {**load("base.yaml").source, "reward": {"parts": [{"verifier": "judge.py:verify"}]}}
    assert load(values, folder=tmp_path / "elsewhere").folder == tmp_path / "elsewhere"
    with pytest.raises(ConfigError, match=r"no file judge\.py"):
        load(values)


def test_data_are_found_in_the_working_directory_and_else_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, names = tmp_path / "home", ("rows.jsonl", "both.jsonl", "clips")
    (home / "clips").mkdir(parents=True)
    write("home/own.py", "def draw(split): ...\n")
    for file in ("home/rows.jsonl", "home/both.jsonl", "both.jsonl"):
        write(file, '{"question": "q", "answer": "a"}\n')
    data = [f"data.{Path(name).stem}={{source: jsonl, path: {name}}}" for name in (*names, "nowhere.jsonl")]
    write("home/base.yaml", Path("base.yaml").read_text())
    recipe = load("home/base.yaml", [*data, "data.own={source: 'own.py:draw'}"])
    paths = {name: config.path for name, config in recipe.header.data.items()}
    assert (paths["rows"], paths["clips"]) == (str(home / "rows.jsonl"), str(home / "clips"))
    assert (paths["both"], paths["nowhere"]) == ("both.jsonl", "nowhere.jsonl")
    assert recipe.header.data["own"].source == f"{home}/own.py:draw"
    assert recipe.paths_beside == {"rows": "rows.jsonl", "clips": "clips"}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where what was saved reads the same files
    again = load(recipe.source).header.data
    assert (again["rows"], again["own"]) == (recipe.header.data["rows"], recipe.header.data["own"])


def temperatures(*overrides: str) -> dict[str, float]:
    recipe = load("base.yaml", overrides)
    inner = {f"{s.name}.eval": s.config.eval.temperature for s in recipe.stages if s.kind == "rlvr" and s.config.eval}
    return {s.name: s.config.temperature for s in recipe.stages if s.kind in ("curate", "evaluate")} | inner


def test_evaluation_and_curation_sample_as_training_does() -> None:
    assert temperatures() == {"curate": 1.0, "after": 1.0}
    measured = ["rlvr.eval_every=2", "rlvr.eval={data: words}"]
    assert temperatures("rlvr.temperature=0.7", *measured) == {"curate": 0.7, "after": 0.7, "rlvr.eval": 0.7}
    own = ["after.temperature=0.2", "curate.temperature=0.9", "rlvr.eval.temperature=0"]
    assert temperatures("rlvr.temperature=0.7", *measured, *own) == {"curate": 0.9, "after": 0.2, "rlvr.eval": 0}
    assert temperatures("stages=[{evaluate: {name: after, data: words}}]") == {"after": 1.0}


def test_the_last_training_before_counts_else_the_next() -> None:
    trained = ["rlvr: {name: %s, data: words, temperature: %s}" % pair for pair in (("a", 0.5), ("b", 0.8))]  # noqa: UP031
    first, *between, last = [f"evaluate: {{name: {name}, data: words}}" for name in ("first", "mid", "next", "last")]
    block = f"repeat: {{times: 2, stages: [{{{between[0]}}}, {{{trained[1]}}}, {{{between[1]}}}]}}"
    write("r.yaml", BASE.partition("stages:")[0] + f"stages: [{{{first}}}, {{{trained[0]}}}, {{{block}}}, {{{last}}}]")
    found = {s.name: s.config.temperature for s in load("r.yaml").stages if s.kind == "evaluate"}
    inside = {"mid@1": 0.5, "next@1": 0.8, "mid@2": 0.5, "next@2": 0.8}  # as written: iterations are alike
    assert found == {"first": 0.5, **inside, "last": 0.8}


def test_what_is_saved_says_the_temperature() -> None:
    source = load("base.yaml", ["rlvr.temperature=0.7"]).source
    assert [stage[kind]["temperature"] for stage in source["stages"] for kind in stage if kind != "sft"] == [0.7] * 3


def test_roles_are_what_the_stages_need() -> None:
    def roles(*overrides: str) -> set[str]:
        return load("base.yaml", overrides).roles

    assert roles() == {"engine", "policy", "critic"}
    assert roles("rlvr.algorithm=grpo", "rlvr.critic=null") == {"engine", "policy"}
    assert roles("rlvr.objective.kl_coef=0.1") == {"engine", "policy", "critic", "reference"}
    assert roles("stages=[{sft: {data: words}}]") == {"policy"}
    assert roles("stages=[{evaluate: {data: words}}]") == {"engine"}


def test_bundled_recipes_are_found_by_name_and_files_by_path() -> None:
    assert find("quickstart") == bundled.FOLDER / "quickstart.yaml"
    assert find("base") == Path("base.yaml")
    assert find(Path("base.yaml").absolute()).name == "base.yaml"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: [", "r.yaml:2: not valid YAML"),
        ("- sft", "r.yaml: expected keys such as name, model, data, reward, stages"),
        ("", "r.yaml: expected keys such as|missing key|stages: expected a list"),
        ("name: 3\nextends: base", "name: expected text; got 3"),
        ("name: a/b\nextends: base", "name: 'a/b' names folders"),
        ("extends: bas", "recipe 'bas': no such file or bundled recipe"),
        ("extends: base\nstages: []", r"stages: expected a list such as"),
        ("extends: base\nstages: [sft, sft]", r"stages\[1\]\.sft: the name 'sft' is taken by an earlier stage"),
        ("extends: base\nstages: [{sft: {data: words}, rlvr: {}}]", r"stages\[0\]: expected one stage"),
        ("extends: base\nstages: [{sft: 3}]", r"stages\[0\]\.sft: expected a mapping; got 3"),
        ("extends: base\nstages: [{sft: {}}]", r"stages\[0\]\.sft: missing key 'data'; add `data: …`"),
        ("extends: base\nsft: 3", r"sft: this is a stage; change one of its keys"),
        ("extends: base\nsfd: {}", r"unknown key 'sfd'; did you mean 'sft'\?"),
        ("extends: base\nrlvr: {model: curate}", r"stages\[2\]\.rlvr\.model: 'curate' is no earlier stage and no fol"),
        ("extends: base\nrlvr: {eval_every: 2}", r"stages\[2\]\.rlvr\.eval_every: nothing to evaluate on; add `eval"),
        (
            "extends: base\nrlvr: {eval: {data: words}}",
            r"stages\[2\]\.rlvr\.eval: never measured; add `eval_every: STEPS`, or remove it",
        ),
        (
            "extends: base\nrlvr: {eval_every: 2, eval: {data: word}}",
            r"stages\[2\]\.rlvr\.eval\.data: no data set 'word'; did you mean",
        ),
        (
            "extends: base\nrlvr: {eval_every: 2, eval: {data: words, budgets: [0]}}",
            r"rlvr\.eval\.budgets: only an evaluate stage of its",
        ),
        (
            "extends: base\nrlvr: {algorithm: grpo, critic_warmup_steps: 2}",
            r"rlvr\.critic_warmup_steps: grpo has no critic to warm up; remove it",
        ),
        ("extends: base\ncurate: {keep: [3]}", r"curate\.keep: expected a list of 2; got \[3\]"),
        ("extends: base\ncurate: {temperature: 0}", r"curate\.temperature: must be above 0, or all samples are the sa"),
        ("extends: base\nsft: {optimizer: {betas: [0.9]}}", r"optimizer\.betas: expected a list of 2; got \[0\.9\]"),
        ("extends: base\nsft: {optimizer: {betas: [1, 0.9]}}", r"optimizer\.betas: each must lie in \[0, 1\); got"),
        ("extends: base\nsft: {optimizer: {learning_rate: -1}}", r"learning_rate: must not be negative; got -1"),
        ("extends: base\nafter: {temperature: -1}", r"temperature: must not be negative; got -1"),
        ("extends: base\nafter: {temperature: 2.5}", r"evaluate\.temperature: must be at most 2; got 2\.5"),
        ("extends: base\nrlvr: {temperature: 2.5}", r"rlvr\.temperature: must be at most 2; got 2\.5"),
        ("extends: base\nseed: -1", "seed: must not be negative; got -1"),
        ("extends: base\nseed: 99999999999999999999", "seed: must be at most 4294967295; got 99999999999999999999"),
        (
            "extends: base\nmodel: {path: x}",
            "model: give `path: …`, `build: {…}` or `compose: {…}`, exactly one of them",
        ),
        ("extends: base\nseed: ${after.limt}", "r.yaml: seed: Interpolation key 'after.limt' not found"),
        ("extends: base\nsft: {epochs: .inf}", r"stages\[0\]\.sft\.epochs: inf is not a finite number"),
        ("extends: base\nsft: {epochs: .nan}", r"stages\[0\]\.sft\.epochs: nan is not a finite number"),
        (
            "extends: base\nreward: [text]",
            r"r\.yaml: reward: expected a mapping, as in what it changes; got \['text'\]",
        ),
        (
            "extends: base\nreward: {parts: {verifier: text}}",
            r"r\.yaml: reward\.parts: expected a list, as in what it ",
        ),
        ("extends: base\nstages: {sft: 1}", r"r\.yaml: stages: expected a list, as in what it changes; got"),
        (
            "extends: base\nsft: {optimizer: {learning_rate: 1}}\nrlvr: {data: [words]}",
            r"rlvr\.data: expected .*\['words'\]",
        ),
        ("extends: base\n5: x", "unknown key '5'; known: "),
        (
            "extends: base\nstages: [{distill: {data: words, name: words}}, {sft: {data: words}}]",
            r"stages\[0\]\.distill: the name 'words' is that of a data set; give it another",
        ),
        (
            "extends: base\nstages: [{sft: {data: words, name: reward}}]",
            r"stages\[0\]\.sft: the name 'reward' is a key",
        ),
        (
            "extends: base\nrlvr: {difficulty: base.yaml}",
            r"rlvr\.difficulty: 'base\.yaml' is no earlier stage and no diff",
        ),
        (
            "extends: base\nrlvr: {difficulty: ''}",
            r"rlvr\.difficulty: '' is no earlier stage and no difficulty file; known",
        ),
        ("extends: base\nrlvr: {model: '.'}", r"rlvr\.model: '\.' is no earlier stage and no folder of a model"),
        ("extends: base\ncurate: {samples: 0, keep: [0, 0]}", r"curate\.samples: must be at least 1; got 0"),
        (
            "extends: base\ncurate: {reuse: base.yaml/d.parquet}",
            r"curate\.reuse: .*/base\.yaml is no folder; name a file in one",
        ),
        (
            "extends: base\ncurate: {reuse: .}",
            r"curate\.reuse: \. is a folder; name a file, such as difficulty\.parquet",
        ),
        ("extends: base\nsft: {checkpoint_every: -1}", r"sft\.checkpoint_every: must not be negative; got -1"),
        ("extends: base\nrlvr: {max_logprob_gap: -1}", r"rlvr\.max_logprob_gap: must not be negative; got -1"),
        (
            "extends: base\nrlvr: {objective: {kl_coeff: 1}}",
            r"rlvr\.objective: unknown key 'kl_coeff'; did you mean 'kl_coef'",
        ),
        ("extends: base\nrlvr: {algorithm: grop}", r"rlvr\.algorithm: unknown algorithm 'grop'; did you mean 'grpo'"),
        (
            "extends: base\nstages: [{distill: {data: words, keep: {accuracy: 2}}}]",
            r"distill\.keep\.accuracy: scores are at most 1; got 2",
        ),
        (
            "extends: base\nstages: [{pairs: {data: words, by: acuracy}}]",
            r"stages\[0\]\.pairs\.by: the reward has no part 'acuracy'; did you mean 'accuracy'",
        ),
        (
            "extends: base\nreward: {parts: [{verifier: reward_model}]}",
            r"reward\.parts\[0\]\.args: add `served: STAGE`, an earlier reward_model stage, or its folder",
        ),
        (
            "extends: base\nreward: {parts: [{verifier: reward_model, args: {served: taste}}]}",
            r"reward\.parts\[0\]\.args\.served: 'taste' is no earlier stage .* when stages\[0\]\.sft runs; give the stages aft",
        ),
    ],
)
def test_mistakes_name_their_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load(write("r.yaml", text))
    assert "\n" not in str(caught.value)


KEYS = ["rlvr", "stages", "0", "sft", "model", "build", "name", "seed", "optimizer", "data", "words", "args", "x", ""]


@settings(deadline=None)
@given(st.lists(st.sampled_from(KEYS), max_size=4), st.text("{}[]:,$'\"#&*!|>% \n0.1ab", max_size=12))
def test_whatever_is_typed_it_loads_or_says_why_not(keys: list[str], value: str) -> None:
    with suppress(ConfigError):
        load("base.yaml", [f"{'.'.join(keys)}={value}"])


def test_a_judge_that_nobody_serves_is_named() -> None:
    asked = "reward.parts=[{verifier: judge, args: {served: critc}}]"
    with pytest.raises(ConfigError, match="reward: no judge 'critc' is served; add `judges:"):
        load("base.yaml", [asked])
    with pytest.raises(ConfigError, match="no judge 'critc' is served; did you mean 'critic'"):
        load("base.yaml", [asked, "judges={critic: {model: x}}"])


def test_who_selects_questions_is_there() -> None:
    distill = "stages=[{{distill: {{data: words, select_by: {{verifier: {}}}}}}}]"
    with pytest.raises(
        ConfigError, match=r"^stages\[0\]\.distill\.select_by\.verifier: unknown verifier 'jugde'; did you"
    ):
        load("base.yaml", [distill.format("jugde")])
    asks = distill.format("judge, args: {served: critic, rubric: perception}")
    with pytest.raises(ConfigError, match=r"distill\.select_by: no judge 'critic' is served"):
        load("base.yaml", [asks])
    made = load("base.yaml", [asks, "judges={critic: {model: x}}"])
    assert made.roles == {"engine", "judge critic"}
    assert list(made.judges) == ["critic"]
