"""Chains of another teacher, filtered as the model's own are: which rows are read, and what is left of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from contexts import context

from models.tokenizer import byte_tokenizer
from rl.config import ConfigError, build
from rl.data.chat import Chat
from rl.data.stage_outputs import load_distilled
from rl.planning.plan import plan
from rl.recipe import load
from rl.run.files import write_jsonl
from rl.stages import distill
from rl.stages.sampling import SAMPLES
from rl.stages.teacher_chains import check_file, match_chains, read_chains
from rl.types import AUDIO_PATCH, Clip, Demonstration, Message, Prompt

CHAT = Chat(byte_tokenizer(), think=True)
CHAIN = "<think>\nlow\n</think>\na"
TALK = [{"role": "system", "content": "Hear."}, {"role": "user", "content": "whose voice?"}]
SAID = [*TALK, {"role": "assistant", "content": CHAIN}]


def prompt(id: str, question: str = "whose voice?", clip: bool = False) -> Prompt:
    turn = Message("user", AUDIO_PATCH + question if clip else question)
    return Prompt(id, (turn,), "a", "voices", (Clip("x.wav"),) if clip else ())


def rows_of(tmp_path: Path, *rows: Any) -> list[Any]:
    write_jsonl(tmp_path / "chains.jsonl", rows)
    return list(read_chains(str(tmp_path / "chains.jsonl"), "distill.chains"))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "response": CHAIN},
        {"prompt_id": "p", "id": "row 7", "response": CHAIN},
        {"id": "p", "response": "<THINK>\nlow\n</THINK>\na"},
        {"id": "p", "chain": "low", "response": "a"},
        {"id": "p", "chain": "low", "response": CHAIN},
        {"id": "p", "chain": "", "response": CHAIN},
        {"id": "p", "reasoning_content": "low", "response": "a", "source": None},
        {"id": "p", "chain": "<think>low</think>", "response": "a", "score": 0.3, "tags": ["x"]},
        {"messages": SAID},
        {"messages": TALK, "response": CHAIN},
        {"messages": [*TALK, {"role": "assistant", "content": "a", "reasoning": "low"}]},
        {"messages": [{"from": "human", "value": "whose voice?"}, {"from": "gpt", "value": CHAIN}]},
        {"messages": [{"role": "user", "content": [{"type": "audio", "audio": "x.wav"}, "whose voice?"]}, SAID[-1]]},
        {"question": "whose voice?", "chain": "low", "response": "a"},
        {"id": "of another file", "question": "whose voice?", "response": CHAIN},
        {"prompt": "whose voice?", "response": CHAIN},
        {"prompt": TALK, "response": CHAIN},
        {"data": "d", "split": "train", "prompt": "p", "sample": 3, "text": CHAIN, "tokens": 9, "truncated": False},
        {"id": "p#3", "data": "d", "split": "train", "prompt": "p", "reasoning": "low", "response": "a", "parts": {}},
    ],
)
@pytest.mark.parametrize("clip", [False, True])
def test_a_row_names_its_prompt_and_holds_an_answer(tmp_path: Path, row: dict[str, Any], clip: bool) -> None:
    ((match, chain),), count = match_chains(
        rows_of(tmp_path, row), [prompt("q", "which digit?"), prompt("p", clip=clip)]
    )
    assert (match.id, chain.text, chain.teacher, count) == ("p", CHAIN, "", 1)


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "question": "which digit?"},  # the file numbers its own rows from 0
        {"id": 1, "messages": [{"role": "user", "content": "which digit?"}]},
        {"id": "1", "prompt": "which digit?"},
        {"id": "1", "question": "which city?"},  # of a prompt that is not asked at all
        {"prompt_id": "1", "messages": [*SAID[:1], {"role": "user", "content": "which digit?"}]},
    ],
)
def test_an_id_and_a_conversation_name_one_prompt(tmp_path: Path, row: dict[str, Any]) -> None:
    prompts = [prompt("0", "which digit?"), prompt("1", clip=True)]
    with pytest.raises(
        ValueError, match=r"chains.jsonl:1: names prompt '1' and says 'which \w+\?', which is not its question"
    ):
        match_chains(rows_of(tmp_path, {**row, "response": CHAIN}), prompts)


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1", "question": "whose voice?"},
        {"id": "1", "question": "whose voice"},  # without the question mark that the template adds
        {"id": "1", "question": "whose voice? A. hers B. his"},  # a teacher was shown more
        {"id": "1", "prompt": "1"},
        {"prompt": "1"},
        {"id": "1", "messages": [{"role": "user", "content": [{"type": "audio", "audio": "x.wav"}]}]},
    ],
)
def test_a_question_within_the_prompt_agrees_with_its_id(tmp_path: Path, row: dict[str, Any]) -> None:
    prompts = [prompt("0", "which digit?"), prompt("1", clip=True), prompt("2", clip=True)]
    ((match, _),), _ = match_chains(rows_of(tmp_path, {**row, "response": CHAIN}), prompts)
    assert match.id == "1"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": CHAIN}, "names no prompt; give its id as `prompt`, or the conversation as `messages`"),
        ({"prompt": "p"}, "no answer; give it as `response`, or as the assistant's last turn"),
        ({"prompt": "p", "response": None}, "no answer; give it"),
        ({"messages": TALK}, "no answer; give it"),
        ({"messages": SAID, "response": CHAIN}, "the conversation and column 'response' both answer; remove one"),
        ({"prompt": ["p"], "response": CHAIN}, "column 'prompt': a turn without a role"),
        ({"prompt": True, "response": CHAIN}, "column 'prompt' is true or false, not text or a number"),
        ({"prompt": "p", "response": 7}, "column 'response' is number, not text; correct the row"),
        ({"prompt": "p", "response": "a", "chain": ["low"]}, "column 'chain' is list, not text"),
        ({"prompt": "p", "response": "a", "chain": "low", "thinking": "high"}, "2 chains of thought that differ"),
        ({"prompt": "p", "response": CHAIN, "source": 3}, "column 'source' is number, not text"),
        ({"messages": [{"role": "tool", "content": "x"}], "response": "a"}, "a prompt has no role 'tool'"),
        ({"messages": [], "response": "a"}, "column 'messages' is list, not a list of"),
        (["p", CHAIN], "a list is not a row; write one JSON object a line"),
    ],
)
def test_a_bad_row_is_one_line_that_names_it(tmp_path: Path, row: Any, message: str) -> None:
    write_jsonl(tmp_path / "chains.jsonl", [{"prompt": "p", "response": CHAIN}, row])
    (problem,) = check_file(str(tmp_path / "chains.jsonl"), "distill.chains")
    assert problem.startswith(f"{tmp_path / 'chains.jsonl'}:2: ")
    assert message in problem
    assert "\n" not in problem


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert check_file(str(tmp_path / "empty.jsonl"), "d.chains") == [
        "d.chains: empty.jsonl holds no chain; name a file of rows"
    ]
    (problem,) = check_file(str(tmp_path / "nowhere.jsonl"), "d.chains")
    assert problem == f"d.chains: no such file: {tmp_path / 'nowhere.jsonl'}; correct the path"
    (tmp_path / "text.parquet").write_text("no parquet")
    assert str(tmp_path / "text.parquet") in check_file(str(tmp_path / "text.parquet"), "d.chains")[0]


def test_rows_of_parquet_are_those_of_json(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"messages": SAID, "response": None, "source": "vl"}, {"messages": TALK, "response": CHAIN, "source": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "chains.parquet")
    texts = [(c.conversation, c.text, c.teacher) for c in read_chains(str(tmp_path / "chains.parquet"), "c")]
    assert texts == [(c.conversation, c.text, c.teacher) for c in rows_of(tmp_path, *rows)]


def test_words_that_several_prompts_share_name_none(tmp_path: Path) -> None:
    chains = rows_of(tmp_path, {"messages": SAID}, {"id": "q", "messages": SAID})
    prompts = [prompt("p", clip=True), prompt("q", clip=True)]
    assert [p.id for p, _ in match_chains(chains[1:], prompts)[0]] == ["q"]
    with pytest.raises(ValueError, match=r"chains.jsonl:1: 2 prompts say the same \('p', 'q', …\); name one by its id"):
        match_chains(chains, prompts)


def stage(tmp_path: Path, sources: dict[str, list[Prompt]], **changes: Any) -> Any:
    return context(tmp_path / "run", sources, cluster=SimpleNamespace(chat=CHAT), **changes)


def config(**changes: Any) -> distill.Config:
    parts = [{"verifier": "text"}, {"verifier": "format", "name": "format"}]
    keep = {"accuracy": 1.0, "format": 1.0}
    values = {"data": "d", "chains": "c.jsonl", "keep": keep, "reward": {"parts": parts}, "balance": None}
    return build(distill.Config, {**values, **changes}, "distill")


def test_chains_pass_the_filter_of_own_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = [prompt(id, f"question {id}?") for id in "pqrs"]
    rows = [
        {"prompt": "p", "response": CHAIN, "source": "vl"},
        {"prompt": "p", "response": "<think>high</think>b", "source": "vl"},
        {"prompt": "p", "response": CHAIN, "source": "sheet"},
        {"prompt": "q", "response": "a", "source": "vl"},
        {"prompt": "q", "response": "<think>" + "low " * 400 + "</think>a"},
        {"prompt": "r", "chain": "deep", "response": "a", "source": "sheet"},
        {"prompt": "elsewhere", "response": CHAIN},
    ]
    write_jsonl(tmp_path / "c.jsonl", rows)
    said: list[str] = []
    at = stage(tmp_path, {"d": prompts}, say=said.append)
    outcome = distill.run(config(max_sequence_tokens=512), at)
    assert outcome.counts == {
        "available": 4,
        "chains": 7,
        "on prompts": 6,
        "short enough": 5,
        "judged": 5,
        "whole": 4,
        "correct": 3,
        "format": 3,
        "distinct": 2,
        "best": 2,
        "kept": 2,
    }
    assert outcome.facts["dropped"] == {
        "on no prompt that is asked": 1,
        "longer than 512 tokens": 1,
        "without one closed chain and an answer": 1,
        "accuracy below 1": 1,
        "said before": 1,
    }
    assert said[-1].endswith("; vl 1 of 3, sheet 1 of 2")
    left = load_distilled(Path(outcome.artifacts["distilled"]), lambda name, split: prompts)
    assert [(p.id, p.demonstration) for p in left] == [
        ("p#0", Demonstration("low", "a")),
        ("r#0", Demonstration("deep", "a")),
    ]
    row = json.loads(Path(outcome.artifacts["distilled"]).read_text().splitlines()[0])
    assert (row["teacher"], row["data"], row["prompt"]) == ("vl", "d", "p")

    # Once judged, judged for good; only what the file says anew is judged again.
    again = distill.run(config(max_sequence_tokens=512), stage(tmp_path, {"d": prompts}, service=None))
    assert again.counts == outcome.counts
    lines = len((at.folder / SAMPLES).read_text().splitlines())
    write_jsonl(tmp_path / "c.jsonl", [*rows[:5], {"prompt": "r", "chain": "deep", "response": "b"}, *rows[6:]])
    assert distill.run(config(max_sequence_tokens=512), stage(tmp_path, {"d": prompts})).counts["kept"] == 1
    assert len((at.folder / SAMPLES).read_text().splitlines()) == lines + 1


def test_rows_of_a_data_set_are_chains_too(tmp_path: Path) -> None:
    own, others = [prompt("p"), prompt("q")], [prompt("q"), prompt("s")]
    lessons = [Prompt(p.id, p.messages, "a", "", (), Demonstration("low", "a")) for p in others]
    outcome = distill.run(config(chains="lessons"), stage(tmp_path, {"d": own, "lessons": lessons}))
    assert {name: outcome.counts[name] for name in ("chains", "on prompts", "kept")} == {
        "chains": 2,
        "on prompts": 1,
        "kept": 1,
    }
    with pytest.raises(ValueError, match=r"data.bare: prompt 'p' has no demonstration; map `response:`"):
        distill.run(config(chains="bare"), stage(tmp_path / "bare", {"d": own, "bare": own}))


def test_chains_of_other_prompts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "c.jsonl", [{"prompt": "x", "response": CHAIN}] * 3)
    with pytest.raises(
        ValueError, match=r"distill.chains: none of 3 chains in c.jsonl is on one of 2 prompts \('p', 'q'"
    ):
        distill.run(config(), stage(tmp_path, {"d": [prompt("p"), prompt("q")]}))


def test_no_engine_is_asked_for_chains_that_are_there() -> None:
    assert config().roles == set()
    assert build(distill.Config, {"data": "d"}, "distill").roles == {"engine"}
    assert [(read.data, read.key) for read in config(chains="lessons").reads] == [("d", ""), ("lessons", "chains")]
    assert [read.data for read in config().reads] == ["d"]
    for key, value in {"ask": "listen", "system": "Hear.", "environment": "calculator"}.items():
        with pytest.raises(ConfigError, match=rf"distill.{key}: nothing is sampled where `chains` are there already"):
            config(**{key: value})


RECIPE = """
model: {build: {hidden_size: 64, layers: 1, heads: 2}}
data:
  d: {source: reasoning_gym, args: {dataset: spell_backward, size: 40}}
  lessons: {source: reasoning_gym, args: {dataset: spell_backward, size: 40}}
reward: {parts: [{verifier: text}]}
stages: [{distill: {data: d, chains: CHAINS}}]
"""


def test_a_file_lies_beside_the_recipe_and_a_data_set_in_it(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "c.jsonl", [{"prompt": "p", "response": CHAIN}])
    file = tmp_path / "teach.yaml"
    for chains, found in (("c.jsonl", str(tmp_path / "c.jsonl")), ("lessons", "lessons")):
        file.write_text(RECIPE.replace("CHAINS", chains))
        recipe = load(file)
        assert recipe.stages[0].config.chains == found
        assert recipe.roles == set()
        assert (plan(recipe).placed, plan(recipe).problems) == ([], []), "a filter alone needs nobody"
        assert load(recipe.source).stages[0].config.chains == found, "a run can be resumed from anywhere"
    file.write_text(RECIPE.replace("CHAINS", "lesons"))
    with pytest.raises(
        ConfigError, match=r"stages\[0\].distill.chains: no data set 'lesons'; did you mean 'lessons'\?"
    ):
        load(file)


def test_a_data_set_without_answers_teaches_nothing(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"question": "q"}])
    file = tmp_path / "teach.yaml"
    lessons = f"lessons: {{source: jsonl, path: {tmp_path / 'rows.jsonl'}, fields: {{question: question}}}}"
    file.write_text(re.sub("lessons: .*", lessons, RECIPE).replace("CHAINS", "lessons"))
    (problem,) = plan(load(file)).problems
    assert (
        problem == "stages[0].distill.chains: 'lessons' has no demonstrations; map `response:` in data.lessons.fields"
    )
