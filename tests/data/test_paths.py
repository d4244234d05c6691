"""Several files, patterns, csv, JSON lists, parts of columns; and what verl's data sets look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rl.config import ConfigError, build
from rl.data.inspection import inspect
from rl.data.sources import DataConfig, load
from rl.recipe import load as load_recipe

ROW = {"question": "1+1?", "answer": 2}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, *rows: dict[str, Any], text: str | None = None) -> None:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        file.write_text(text, encoding="utf-8")
    elif file.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(source: str, path: object, **keys: object) -> DataConfig:
    return build(DataConfig, {"source": source, "path": path, **keys}, "data.d")


def refusal(made: DataConfig, split: str | None = None) -> str:
    """What reading and `rl check` both say."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is compared
        load(made, split, place="data.d")
    assert "\n" not in str(caught.value)
    assert inspect(made, split, "data.d").problems == [str(caught.value)]
    return str(caught.value)


@pytest.mark.parametrize("path", ["data/*.jsonl", ["data/b.jsonl", "data/a.jsonl"], ["data/[ab].jsonl"], "**/?.jsonl"])
def test_several_files(path: object) -> None:
    write("data/a.jsonl", {**ROW, "split": "train"}, {**ROW, "split": "test"})
    write("data/b.jsonl", {**ROW, "split": "Train"})
    made = config("jsonl", path)
    ids = ["a/1", "b/1"] if path != ["data/b.jsonl", "data/a.jsonl"] else ["b/1", "a/1"]
    assert [prompt.id for prompt in load(made, "train", say=lambda _: None)] == ids
    assert inspect(made, "train").rows == 2


def test_equal_names_in_several_folders_have_ids_of_their_own() -> None:
    for folder in ("x", "y"):
        write(f"data/{folder}/rows.parquet", ROW, ROW)
    made = config("parquet", "data/*/rows.parquet")
    assert [prompt.id for prompt in load(made)] == ["x/rows/1", "x/rows/2", "y/rows/1", "y/rows/2"]
    assert inspect(made).rows == 4


def test_a_file_whose_name_is_a_pattern_is_that_file() -> None:
    write("a[1].jsonl", ROW)
    assert len(load(config("jsonl", "a[1].jsonl"))) == 1


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("data/*.jsonl", "data.d.path: no file matches data/*.jsonl; correct it"),
        ("nowhere/*.jsonl", "data.d.path: no file matches nowhere/*.jsonl: there is no folder nowhere; correct it"),
        (["data/a.json", "data/b.json"], "data.d.path: no such file: data/b.json; correct the path"),
        (["data/a.json", "data/*.json"], "data.d.path: data/a.json is named twice; remove one"),
        ("data", "data.d.path: data is a folder; name a file in it, or a pattern such as data/*.jsonl"),
    ],
)
def test_what_a_path_gets_wrong(path: object, says: str) -> None:
    write("data/a.json", ROW)
    assert refusal(config("jsonl", path)) == says


def test_files_of_different_columns() -> None:
    write("a.parquet", {**ROW, "split": "train"})
    write("b.parquet", ROW)
    says = "b.parquet: no column 'split', which a.parquet has; give it to all, or make a data set of each sort"
    assert refusal(config("parquet", "*.parquet"), "train") == says
    write("a.csv", text="question,answer\n1?,1\n")
    write("b.csv", text="question\n1?\n")
    assert refusal(config("csv", "*.csv")).startswith("b.csv: no column 'answer', which a.csv has; ")
    write("a.jsonl", {**ROW, "split": "train"})
    write("b.jsonl", ROW)
    assert (
        refusal(config("jsonl", "*.jsonl"))
        == "b.jsonl:1: column 'split' is in some rows only; give it to all or to none"
    )
    write("c.jsonl", {"text": "?"})
    assert refusal(config("jsonl", ["b.jsonl", "c.jsonl"])).startswith(
        "c.jsonl:1: the template's {question} is no column"
    )


def test_other_sources_take_one_path() -> None:
    for source in ("huggingface", "folder"):
        with pytest.raises(ConfigError, match=rf"^data\.d\.path: source '{source}' takes one; make a data set of each"):
            config(source, ["a", "b"], template="?")
    with pytest.raises(
        ConfigError, match=r"^data\.d\.source: 'jsonl', and rows\.csv ends in \.csv; write `source: csv`"
    ):
        config("jsonl", ["a.jsonl", "rows.csv"])


# --- csv and json ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(delimiter: str, start: str, end: str) -> None:
    lines = ["question,answer,split", '"two, or\nthree; \t ""q""?",042,train', "Größe?,,test", ""]
    write("rows.csv", text=start + end.join(line.replace(",", delimiter) for line in lines))
    first, second = load(config("csv", "rows.csv"))
    comma = delimiter
    assert first.question == f'two{comma} or\nthree; \t "q"?'
    assert (first.answer, second.question, second.answer) == ("042", "Größe?", None)
    assert [prompt.question for prompt in load(config("csv", "rows.csv"), "test")] == ["Größe?"]
    facts = inspect(config("csv", "rows.csv"), "test")
    assert (facts.rows, facts.columns) == (1, ["question", "answer", "split"])


def test_a_long_cell_of_csv() -> None:
    write("rows.csv", text=f"question,answer\n{'x' * 200_000},1\n")
    assert len(load(config("csv", "rows.csv"))[0].question) == 200_000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "rows.csv: no header; write the names of the columns into its first line"),
        ("\n\n", "rows.csv: no header; "),
        ("question,question\na,b\n", "rows.csv:1: column 'question' stands twice; rename one"),
        ("question,answer\na\nb,1\n", "rows.csv:2: 1 cells, and the header has 2; put text that holds ',' or a line break in"),
        ('question,answer\n"a\nb",1\na,b,c\n', "rows.csv:4: 3 cells, and the header has 2; "),
        ('question,answer\n"a,1\n', "rows.csv:2: not valid csv (unexpected end of data); write it again"),
        ("frage,answer\na,1\n", "rows.csv: no column 'question'; known: answer, frage"),
        ("question,Split\na,train\n", "rows.csv: no column 'split', but 'Split'; write `split_column: 'Split'`"),
        ("question,answer\n", "data.d: rows.csv holds no prompts; check it"),
        ("question,answer\n,1\n", "rows.csv:2: column 'question' is null, not text; correct the row"),
    ],
)  # fmt: skip
def test_bad_csv(text: str, says: str) -> None:
    write("rows.csv", text=text)
    assert refusal(config("csv", "rows.csv")).startswith(says)


@pytest.mark.parametrize("source", ["csv", "jsonl"])
def test_a_file_that_may_not_be_read_is_one_line(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(f"rows.{source}", text="question,answer\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root, as whom tests may run, is refused nothing.
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert refusal(config(source, f"rows.{source}")).startswith(f"rows.{source}: cannot be read (permission denied); ")


def test_csv_that_is_not_utf_8() -> None:
    Path("rows.csv").write_bytes("question,answer\nGröße?,1\n".encode("latin-1"))
    assert refusal(config("csv", "rows.csv")).startswith("rows.csv: not utf-8 (")


@pytest.mark.parametrize("source", ["json", "jsonl"])
@pytest.mark.parametrize(
    "text", ['[{"question": "1?"},\n {"question": "2?"}]', '\ufeff\n [\n{"question":"1?"},{"question":"2?"}]\n']
)
def test_a_list_of_json(source: str, text: str) -> None:
    write("rows.json", text=text)
    made = config(source, "rows.json")
    assert [(prompt.id, prompt.question) for prompt in load(made)] == [("rows/1", "1?"), ("rows/2", "2?")]
    assert inspect(made).columns == ["question"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"question": "1?"}, 3]', "rows.json: row 2: a number is not a row; write a list of objects"),
        ('[{"question": "1?"}\n{}]', "rows.json: invalid JSON: Expecting ',' delimiter at line 2, column 1; write a list of rows"),
        ('{"rows": [{"question": "1?"}]}', "rows.json:1: the template's {question} is no column"),
        ("{\n}", "rows.json:1: invalid JSON: "),
        ("[]", "data.d: rows.json holds no prompts; check it"),
        ('[{"question": "1?"}, {"frage": "1?"}]', "rows.json: row 2: the template's {question} is no column"),
        ('[{"question": "1?", "question": "2?"}]', "rows.json: invalid JSON: key 'question' stands twice in an object"),
    ],
)  # fmt: skip
def test_bad_json(text: str, says: str) -> None:
    write("rows.json", text=text)
    assert refusal(config("json", "rows.json")).startswith(says)


# --- parts of columns ----------------------------------------------------------------------------------------------

VERL: list[dict[str, Any]] = [
    {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": f"What is {i} + 1?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(i + 1)},
        "extra_info": {"split": "train" if i % 2 else "test", "index": i, "question": f"{i}?"},
    }
    for i in range(5)
]
VERL_FIELDS = {
    "messages": "prompt",
    "answer": "reward_model.ground_truth",
    "source": "data_source",
    "id": "extra_info.index",
    "split": "extra_info.split",
    "task": "ability",
}


@pytest.mark.parametrize("name", ["verl.parquet", "verl.jsonl"])
def test_the_five_columns_of_verl(name: str) -> None:
    write(name, *VERL)
    made = config(Path(name).suffix[1:], name, fields=VERL_FIELDS)
    prompts = load(made, "train")
    assert [(p.id, p.question, p.answer) for p in prompts] == [
        ("1", "What is 1 + 1?", "2"),
        ("3", "What is 3 + 1?", "4"),
    ]
    assert {(p.source, p.fields["task"]) for p in prompts} == {("openai/gsm8k", "math")}
    facts = inspect(made, "train")
    assert (facts.rows, facts.problems, facts.without_splits) == (2, [], False)
    assert "reward_model.ground_truth" in facts.columns


def test_a_recipe_that_names_the_file_is_told_where_its_answers_are() -> None:
    from rl.planning.plan import plan

    write("verl.parquet", *VERL)
    data = {"source": "parquet", "path": "verl.parquet", "fields": {"messages": "prompt"}}
    stage = {"evaluate": {"data": "d", "split": None, "max_sequence_tokens": 64}}
    values = {"name": "t", "model": {"build": {}}, "data": {"d": data}, "reward": {"parts": [{"verifier": "math"}]}}
    problems = plan(load_recipe({**values, "stages": [stage]})).problems
    assert [line for line in problems if "fields: {answer: reward_model.ground_truth}" in line], problems
    data["fields"] = VERL_FIELDS
    assert plan(load_recipe({**values, "stages": [stage]})).problems == []


@pytest.mark.parametrize("name", ["verl.parquet", "verl.jsonl"])
@pytest.mark.parametrize(
    ("fields", "template", "says"),
    [
        ({"answer": "reward_model.ground_truht"}, "{prompt.0.content}", "column 'reward_model' has no key 'ground_truht'; did"),
        ({"answer": "reward.ground_truth"}, "{prompt.0.content}", "no column 'reward.ground_truth'"),
        ({"answer": "ability.x"}, "{prompt.0.content}", "column 'ability' is a text, not a mapping; it has no 'x'"),
        ({}, "{prompt.1.content}", "column 'prompt' has 1 items and no '1'; they are counted from 0"),
        ({}, "{prompt.content}", "column 'prompt' is a list; number its items from 0; it has no 'content'"),
    ],
)  # fmt: skip
def test_parts_that_are_not_there(name: str, fields: dict[str, str], template: str, says: str) -> None:
    write(name, *VERL)
    assert says in refusal(config(Path(name).suffix[1:], name, fields=fields, template=template))


def test_parts_in_the_template_and_null_ones() -> None:
    write(
        "rows.jsonl",
        {"a": {"b": [{"c": "x"}, {"c": 7}]}, "g": None},
        {"a": {"b": [{"c": "y"}, {"c": 8}]}, "g": {"t": 3}},
    )
    made = config("jsonl", "rows.jsonl", template="{a.b.0.c} and {a.b.-1.c}")
    assert [prompt.question for prompt in load(made)] == ["x and 7", "y and 8"]
    null = config("jsonl", "rows.jsonl", template="{a.b.0.c}", fields={"answer": "g.t"})
    assert refusal(null) == "rows.jsonl:1: column 'g.t' is null, not text or a number; correct the row"


def test_a_column_with_a_dot_in_its_name_comes_first() -> None:
    write("rows.jsonl", {"question": "?", "a.b": "flat", "a": {"b": "deep"}})
    assert load(config("jsonl", "rows.jsonl", fields={"answer": "a.b"}))[0].answer == "flat"


def test_paths_beside_the_recipe() -> None:
    write("project/data/a.jsonl", ROW)
    write("project/data/b.jsonl", ROW)
    for path in ("data/*.jsonl", ["data/a.jsonl", "data/b.jsonl"]):
        values = {"name": "t", "model": {"build": {}}, "reward": {"parts": [{"verifier": "text"}]}}
        values |= {"data": {"d": {"source": "jsonl", "path": path}}, "stages": [{"evaluate": {"data": "d"}}]}
        recipe = load_recipe(values, folder=Path("project"))
        assert len(load(recipe.header.data["d"])) == 2
        assert recipe.paths_beside == {"d": path}


def test_the_files_of_a_job() -> None:
    from rl.data.paths import names_below

    write("project/data/b.jsonl", ROW)
    write("project/data/a.jsonl", ROW)
    assert names_below(Path("project"), ["data/*.jsonl", "x.csv"]) == ["data/a.jsonl", "data/b.jsonl", "x.csv"]
    assert names_below(Path("project"), "none/*.jsonl") == ["none/*.jsonl"]
    assert names_below(Path("project"), None) == []
