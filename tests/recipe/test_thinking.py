"""What `model.think: auto` means: evidence of chains in demonstrations, stages, rewards and the chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plans import QWEN2_32B, whole

from models.folder import read_chat_template
from rl import bundled
from rl.config import ConfigError
from rl.planning.plan import Plan, plan
from rl.recipe import Recipe, load
from rl.recipe.single_stage import single_stage
from rl.recipe.thinking import Thinking, choose_thinking
from rl.types import Demonstration, Message, Prompt

PLAIN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPENS = PLAIN + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
STRIPS = "{% set content = content.split('</think>')[-1] %}" + PLAIN
MODEL = {**QWEN2_32B, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
RLVR = {"rlvr": {"data": "d", "algorithm": "grpo", "prompts_per_step": 2, "max_sequence_tokens": 64}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"q{i}", "answer": "1", "response": "1"} for i in range(4)]
    Path("plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows[3]["reasoning_content"] = "because"
    Path("chains.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model("plain", PLAIN)


def model(name: str, template: str | None) -> None:
    folder = whole(Path(name), MODEL)
    if template is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))


def recipe(
    stages: list[dict[str, Any]], *overrides: str, file: str = "plain", path: str = "plain", **header: Any
) -> Recipe:
    values = {
        "name": "small",
        "model": {"path": path},
        "data": {"d": {"source": "jsonl", "path": f"{file}.jsonl", "fields": {"response": "response"}}},
        "reward": {"parts": [{"verifier": "math"}]},
        "stages": stages,
        **header,
    }
    return load(values, overrides)


def thinking(*args: Any, **keys: Any) -> str:
    result = plan(recipe(*args, **keys))
    assert result.problems == []
    return result.thinking


def test_a_model_that_knows_no_chains_answers_at_once() -> None:
    says = "off (model.think: auto): the model's chat template does not know <think>, and neither demonstrations nor"
    assert thinking([RLVR]).startswith(says)
    assert thinking([{"sft": {"data": "d"}}, RLVR]).startswith(says)
    assert thinking([{"evaluate": {"data": "d", "max_sequence_tokens": 64}}]).startswith(says)


@pytest.mark.parametrize("template", [OPENS, STRIPS])
def test_a_template_that_knows_the_tag(template: str) -> None:
    model("thinker", template)
    assert thinking([RLVR], path="thinker") == "on (model.think: auto): the model's chat template knows <think>"


def test_demonstrations_with_chains() -> None:
    says = "on (model.think: auto): rows of 'd', which stages[0].sft learns from, have chains"
    assert thinking([{"sft": {"data": "d"}}, RLVR], file="chains") == says
    off = "off (model.think: auto)"
    assert thinking([RLVR], file="chains").startswith(off), "nobody learns from them"


def test_a_reward_that_asks_for_chains() -> None:
    parts = [{"verifier": "math"}, {"verifier": "format", "name": "format", "weight": 0.2}]
    says = "on (model.think: auto): the reward of stages[0].rlvr has 'format', which asks for chains"
    assert thinking([RLVR], reward={"parts": parts}) == says
    own = {"rlvr": {**RLVR["rlvr"], "reward": {"parts": parts}}}
    assert thinking([own]) == says
    parts[1]["weight"] = 0  # only watched
    assert thinking([RLVR], reward={"parts": parts}).startswith("off")


def test_stages_that_need_chains() -> None:
    evaluate = {"evaluate": {"data": "d", "budgets": [0, "full"], "max_sequence_tokens": 64}}
    assert thinking([evaluate]) == "on (model.think: auto): stages[0].evaluate.budgets cuts chains"
    distill = {"distill": {"data": "d", "max_sequence_tokens": 64}}
    assert thinking([distill]) == "on (model.think: auto): stages[0].distill collects answers with a chain"


def test_pairs_with_chains() -> None:
    Path("pairs.jsonl").write_text(json.dumps({"question": "q", "a": "<think>r</think>1", "b": "2"}) + "\n")
    data = {"p": {"source": "jsonl", "path": "pairs.jsonl", "fields": {"chosen": "a", "rejected": "b"}}}
    dpo = {"dpo": {"data": "p", "max_sequence_tokens": 64, "pairs_per_step": 1}}
    assert (
        thinking([dpo], data=data)
        == "on (model.think: auto): rows of 'p', which stages[0].dpo learns from, have chains"
    )


def test_what_is_not_known_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub = plan(recipe([RLVR], path="nobody/model"))
    assert hub.thinking == "not known yet (model.think: auto): the chat template is read once the model is here"
    Path("mine.py").write_text("def prompts(split):\n    yield None\n")
    used = recipe([{"sft": {"data": "d"}}], data={"d": {"source": "mine.py:prompts"}})
    assert plan(used).thinking == "not known yet (model.think: auto): the rows of 'd' are read when the run starts"
    plain = Prompt("a", (Message("user", "q"),), demonstration=Demonstration("", "1"))
    chain = Prompt("a", (Message("user", "q"),), demonstration=Demonstration("r", "1"))
    assert choose_thinking(used, lambda _: [plain], Path("plain")).think is False
    assert choose_thinking(used, lambda _: [plain, chain], Path("plain")).think is True


def test_rows_that_were_not_looked_at_may_have_chains() -> None:
    import pyarrow.parquet

    responses = ["1"] * 200
    pyarrow.parquet.write_table(pyarrow.table({"question": responses, "response": responses}), "rows.parquet")
    data = {"d": {"source": "parquet", "path": "rows.parquet", "fields": {"response": "response"}}}
    assert thinking([{"sft": {"data": "d", "max_sequence_tokens": 64}}], data=data).startswith("not known yet")


def test_what_the_recipe_says_is_not_explained() -> None:
    for value, think in (("true", True), ("false", False)):
        used = recipe([RLVR], f"model.think={value}")
        assert choose_thinking(used, lambda _: None, None) == Thinking(think, f"model.think is {value}")
        assert plan(used).thinking == ""
    with pytest.raises(ConfigError, match=r"^model\.think: "):
        recipe([RLVR], "model.think=perhaps")


def test_chains_that_would_be_left_out_are_a_note() -> None:
    used = recipe([{"sft": {"data": "d"}}], "model.think=false", file="chains")
    assert [note for note in plan(used).notes if "chains" in note] == [
        "rows of 'd', which stages[0].sft learns from, have chains, and model.think is false: they are left out; "
        "remove `think: false` to teach them"
    ]


@pytest.mark.parametrize("name", bundled.names())
def test_bundled_recipes_think(name: str) -> None:
    used = load(name)
    if name == "smollm2_sums":  # a model that was pretrained to answer at once
        assert used.header.model.think is False
        return
    assert choose_thinking(used, lambda _: None, None).think is True
    # Where only rows that are not here could tell, the recipe says it.
    assert used.header.model.think == (True if name == "step_audio_r1_5" else "auto")


def test_a_built_model_thinks() -> None:
    used = recipe([RLVR], model={"build": {"hidden_size": 64, "layers": 1, "heads": 2}})
    assert plan(used).thinking == "on (model.think: auto): the chat template of a built model opens <think>"


def test_a_single_stage_asks_recipe_and_template() -> None:
    Path("trained.yaml").write_text(
        json.dumps({**recipe([{"sft": {"data": "d"}}, RLVR], file="chains").source, "name": "trained"})
    )

    def think(*, flag: bool | None = None, lent: str | None = None) -> object:
        return single_stage("evaluate", "plain", "plain.jsonl", {}, recipe=lent, think=flag).header.model.think

    assert think() == "auto"
    assert think(flag=False) is False
    assert think(lent="trained.yaml") is True, "its demonstrations have chains"
    assert think(lent="trained.yaml", flag=False) is False


def test_templates_stand_in_several_files(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    assert read_chat_template(folder) is None
    (folder / "tokenizer_config.json").write_text('{"chat_template": null}')
    assert read_chat_template(folder) is None
    (folder / "tokenizer_config.json").write_text(
        '{"chat_template": [{"name": "default", "template": "a"}, {"template": "b"}]}'
    )
    assert read_chat_template(folder) == "a\nb"
    (folder / "chat_template.jinja").write_text("c")
    (folder / "chat_template.json").write_text('{"chat_template": "d"}')
    assert read_chat_template(folder) == "c\nd\na\nb"


def test_the_plan_says_it() -> None:
    from plans import rendered

    result: Plan = plan(recipe([RLVR]))
    assert "thinking   off (model.think: auto): " in rendered(result)


OTHER = PLAIN + "{% if m.thinking %}[THINK]{{ m.thinking }}[/THINK]{% endif %}"


def test_a_template_with_other_tags() -> None:
    """Its chains are read by nobody: it does not think, and is refused where it must."""
    model("magistral", OTHER)
    assert thinking([RLVR], path="magistral").endswith("; a chain between [THINK] and [/THINK] counts as answer")
    says = "model.think: the model's chat template writes chains between [THINK] and [/THINK], and here they stand between <think>"
    for stages, more in (
        ([RLVR], {"overrides": ["model.think=true"]}),
        ([{"sft": {"data": "d"}}], {"file": "chains"}),
        ([{"evaluate": {"data": "d", "budgets": [0, "full"], "max_sequence_tokens": 64}}], {}),
    ):
        overrides = more.pop("overrides", [])
        problems = plan(recipe(stages, *overrides, path="magistral", **more)).problems
        assert [line for line in problems if line.startswith(says)], problems
    assert plan(recipe([RLVR], "model.think=false", path="magistral")).problems == []
    model("both", OTHER + "{# <think> #}")
    assert thinking([RLVR], path="both").startswith("on")
