"""Sources of data: formats, splits, what a recipe gets wrong, functions of one's own, the hub."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from real_data import DATA, real
from row_files import ROWS, jsonl, write

from rl.config import ConfigError, build
from rl.data.inspection import CHECKED_BYTES, inspect
from rl.data.sources import DataConfig, load
from rl.types import Message

REPOSITORY = Path(__file__).parents[2]


def test_splits_that_are_not_there(tmp_path: Path):
    file = write(tmp_path, *ROWS)
    with pytest.raises(ValueError, match=r"rows\.jsonl: no split 'dev'; there are train, test$"):
        load(jsonl(file), "dev")
    unsplit = write(tmp_path, {"question": "1+1"}, name="unsplit.jsonl")
    assert len(load(jsonl(unsplit), "dev")) == 1
    with pytest.raises(ValueError, match=r"unsplit\.jsonl:1: no column 'split'"):
        load(jsonl(unsplit, fields={"split": "split"}), "dev")


@pytest.mark.parametrize(
    "spelling", ["train ", "Train", "TRAIN", " train\n", "ｔｒａｉｎ", "\ufefftrain".strip("\ufeff")]
)
def test_a_split_is_one_split_however_it_is_written(spelling: str, tmp_path: Path):
    rows = [{"question": "Q?", "id": str(i), "split": s} for i, s in enumerate([spelling, "train", "test", spelling])]
    config = jsonl(write(tmp_path, *rows))
    for asked in ("train", spelling):
        said: list[str] = []
        assert [p.id for p in load(config, asked, say=said.append)] == ["0", "1", "3"]
        told = f"data: {config.path}:2: split 'train' is read as '{spelling}', as it was written before"
        assert said == ([] if spelling == "train" else [told])
        assert inspect(config, asked).rows == 3
        assert inspect(config, asked).notes == said
    with pytest.raises(ValueError, match=r"no split 'dev'; there are"):
        load(config, "dev")


def test_splits_of_parquet_and_of_hugging_face_are_written_in_any_way(tmp_path: Path):
    import datasets

    rows = [
        {"question": "1", "split": "Train"},
        {"question": "2", "split": "train "},
        {"question": "3", "split": "Test"},
    ]
    data = datasets.Dataset.from_list(rows)
    data.to_parquet(tmp_path / "rows.parquet")
    config = DataConfig("parquet", str(tmp_path / "rows.parquet"))
    assert [p.question for p in load(config, "train")] == ["1", "2"]
    assert inspect(config, "train").rows == 2
    parts = {"Train": data.remove_columns("split").select([0]), "TEST": data.remove_columns("split").select([2])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "parts")
    assert [p.question for p in load(DataConfig("huggingface", str(tmp_path / "parts")), "train")] == ["1"]
    assert [p.question for p in load(DataConfig("huggingface", str(tmp_path / "parts")), "test")] == ["3"]


@pytest.mark.parametrize("name", ["Split", "SPLIT", " split", "split "])
def test_a_split_column_under_another_spelling_is_named(name: str, tmp_path: Path):
    """Without its splits, training would read the rows of the test."""
    import datasets

    rows = [{"question": "1", name: "train"}, {"question": "2", name: "test"}]
    data = datasets.Dataset.from_list(rows)
    data.to_parquet(tmp_path / "rows.parquet")
    data.save_to_disk(tmp_path / "saved")
    file = write(tmp_path, *rows)
    for config in (
        jsonl(file),
        DataConfig("parquet", str(tmp_path / "rows.parquet")),
        DataConfig("huggingface", str(tmp_path / "saved")),
    ):
        says = f": no column 'split', but '{name}'; write `split_column: '{name}'`"
        with pytest.raises(ValueError, match=f"{re.escape(says)}$"):
            load(config, "train")
        assert len(load(dataclasses.replace(config, split_column=name), "train")) == 1


def test_split_folders_have_their_usual_names(tmp_path: Path):
    for name in ("Train/dog/1.wav", "val/dog/2.wav", "TEST/cat/3.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    config = DataConfig("folder", str(tmp_path), {"answer": "label"}, "What?")
    for split, label in (("train", "dog"), ("validation", "dog"), ("test", "cat")):
        [prompt] = inspect(config, split).prompts
        assert prompt.answer == label


BAD_CONFIGS = [
    ({"source": "jsnl"}, "data.source: no source 'jsnl'; did you mean 'jsonl'?, or write pkg.mod:fn or file.py:fn"),
    ({"source": "jsonl"}, "data: source 'jsonl' needs `path: …`"),
    ({"source": "jsonl", "path": "x", "args": {"a": 1}}, "data.args: source 'jsonl' takes none; remove it"),
    ({"source": "jsonl", "path": "x", "fields": {"reasoning": "r"}}, "data.fields: 'reasoning' without 'response'"),
    (
        {"source": "jsonl", "path": "x", "fields": {"messages": "m"}, "template": "{q}!"},
        "data.fields: 'messages' holds the whole conversation",
    ),
    (
        {"source": "jsonl", "path": "x", "template": "{"},
        "data.template: Single '{' encountered in format string; write a literal brace twice: {{ or }}",
    ),
    ({"source": "jsonl", "path": "x", "template": "{}"}, "data.template: only plain {column} names are filled in"),
    ({"source": "jsonl", "path": "x", "template": "{a!r}"}, "data.template: only plain {column} names are filled in"),
    ({"source": "words", "path": "x"}, "data.path: 'words' makes its own prompts; use `args: {…}`"),
    ({"source": "words"}, "data.args: missing key 'path'; add `path: …`"),
    ({"source": "words", "args": {"pth": "x"}}, "data.args: unknown key 'pth'; did you mean 'path'?"),
    ({"source": "words", "args": {"path": "x", "min_letters": "3"}}, "data.args.min_letters: expected a whole number"),
]


@pytest.mark.parametrize(("values", "message"), BAD_CONFIGS, ids=[message[:40] for _, message in BAD_CONFIGS])
def test_mistakes_in_the_recipe_are_one_line(values: dict[str, object], message: str):
    with pytest.raises(ConfigError) as caught:
        build(DataConfig, values, "data")
    assert str(caught.value).startswith(message)


def test_a_missing_file_names_the_path_and_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"^data\.path: no such file: /no/file\.jsonl; correct the path$"):
        load(jsonl(Path("/no/file.jsonl")))
    monkeypatch.delenv("GROUNDTONE_DATA", raising=False)
    unset = (
        r"^data\.path: \$.*gsm8k/train\.jsonl is in the folder that GROUNDTONE_DATA names; set it, for example GROUND"
    )
    monkeypatch.chdir(tmp_path)
    for path in ("${GROUNDTONE_DATA}/gsm8k/train.jsonl", "$GROUNDTONE_DATA/gsm8k/train.jsonl"):
        with pytest.raises(ConfigError, match=unset):
            load(jsonl(Path(path)))
    monkeypatch.setenv("GROUNDTONE_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"GROUNDTONE_DATA names has none; set the variable to the one that holds"):
        load(jsonl(tmp_path / "gsm8k" / "train.jsonl"))
    write(tmp_path, *ROWS)
    assert len(load(jsonl(Path("$GROUNDTONE_DATA/rows.jsonl")))) == 3
    with pytest.raises(ConfigError, match=r"is a folder; name a file in it"):
        load(jsonl(tmp_path))
    with pytest.raises(ConfigError, match=r"^data: limit 0 leaves no prompt; use 1 or more$"):
        load(jsonl(tmp_path / "rows.jsonl"), limit=0)
    with pytest.raises(ValueError, match=r"^data: .*empty\.jsonl holds no prompts; check it$"):
        load(jsonl(write(tmp_path, name="empty.jsonl")))


def test_parquet_round_trip(tmp_path: Path):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "rows.parquet"
    rows = [{**row, "answer": str(row["answer"]), "audio": b"\0" * 99, "names": ["x", "y"]} for row in ROWS]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    config = DataConfig("parquet", str(file), fields={"names": "names"})
    train = load(config, "train")
    assert [(p.id, p.answer, p.question) for p in train] == [("a", "2", "1+1"), ("c", "6", "3+3")]
    assert train[0].fields == {"names": ["x", "y"]}
    assert inspect(config).rows == 3
    assert inspect(config, "test").rows == 1
    with pytest.raises(ValueError, match=r"rows\.parquet: no split 'dev'; there are train, test$"):
        load(config, "dev")
    with pytest.raises(ValueError, match=r"rows\.parquet: no column 'anser'; did you mean 'answer'\?"):
        load(DataConfig("parquet", str(file), fields={"answer": "anser"}))
    pyarrow.parquet.write_table(pyarrow.table({"question": ["1+1", None]}), file)
    with pytest.raises(
        ValueError, match=r"rows\.parquet: row 2: column 'question' is null, not text; correct the row"
    ) as bad:
        load(DataConfig("parquet", str(file)))
    assert inspect(DataConfig("parquet", str(file)), "train").problems == [str(bad.value)]
    file.write_text("no parquet")
    with pytest.raises(ValueError, match=r"rows\.parquet: cannot be read as parquet: .*; write it again$"):
        load(DataConfig("parquet", str(file)))


def test_huggingface_folders(tmp_path: Path):
    import datasets

    rows = [{"id": row["id"], "question": row["question"], "answer": str(row["answer"])} for row in ROWS]
    parts = datasets.DatasetDict(
        train=datasets.Dataset.from_list(rows[:2]), test=datasets.Dataset.from_list([{**rows[2], "id": "a"}])
    )
    parts.save_to_disk(tmp_path / "parts")
    config = DataConfig("huggingface", str(tmp_path / "parts"))
    assert [p.question for p in load(config, "test")] == ["3+3"]
    with pytest.raises(ValueError, match=r"parts: no split 'dev'; there are train, test$"):
        load(config, "dev")
    with pytest.raises(ValueError, match=r"parts\[test\]: row 1: id 'a' is that of .*parts\[train\]: row 1 too"):
        load(config)
    datasets.Dataset.from_list([dict(row, answer=str(row["answer"])) for row in ROWS]).save_to_disk(tmp_path / "one")
    assert [p.id for p in load(DataConfig("huggingface", str(tmp_path / "one")), "train")] == ["a", "c"]
    (tmp_path / "files").mkdir()
    write(tmp_path / "files", *[{**row, "answer": str(row["answer"])} for row in ROWS], name="train.jsonl")
    config = DataConfig("huggingface", str(tmp_path / "files"), args={"cache_dir": str(tmp_path / "cache")})
    assert [p.id for p in load(config, "test")] == ["b"]  # the rows' own split wins over the file's name
    with pytest.raises(ValueError, match=r"files: no column 'gold'; known: answer, id, question, split"):
        load(DataConfig("huggingface", config.path, fields={"answer": "gold"}, args=config.args))
    with pytest.raises(ConfigError, match=r"data\.path: no such file: /no/folder"):
        load(DataConfig("huggingface", "/no/folder"))


def test_a_hub_out_of_reach_is_one_line():
    code = (
        "from rl.data.sources import DataConfig, load\n"
        "try: load(DataConfig('huggingface', 'groundtone/none'))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("data.path: groundtone/none: ")
    assert done.stdout.endswith("; check the name, args and the network\n")
    assert done.stdout.count("\n") == 1


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "mine.py"
    file.write_text(
        "from rl.types import Message, Prompt\n"
        "def squares(split, upto=2, **rest):\n"
        "    return [Prompt(f'{split}/{i}', (Message('user', f'{i}^2'),), str(i * i)) for i in range(upto)]\n"
        "def strict(split, upto): return ['no prompt']\n"
    )
    config = build(DataConfig, {"source": f"{file}:squares", "args": {"upto": 3}, "system": "Count."}, "data")
    prompts = load(config, "test")
    assert [(p.id, p.answer) for p in prompts] == [("test/0", "0"), ("test/1", "1"), ("test/2", "4")]
    assert prompts[2].messages == (Message("system", "Count."), Message("user", "2^2"))
    assert inspect(config).problems == []
    monkeypatch.syspath_prepend(tmp_path)
    assert len(load(DataConfig("mine:squares"))) == 2
    for source, args, message in [
        ("mine:square", {}, "data.source: mine has no function 'square'; did you mean 'squares'?"),
        ("none_such:fn", {}, "data.source: cannot import none_such: No module named 'none_such'; correct"),
        ("mine:strict", {}, "data.args: missing key 'upto'; add `upto: …`"),
        ("mine:strict", {"upto": 1, "x": 1}, "data.args: unknown key 'x'; known: upto"),
        ("mine:strict", {"upto": 1}, "data: mine:strict: prompt 1: a text is not a Prompt; yield rl.types.Prompt"),
    ]:
        with pytest.raises(ValueError, match=r"^data") as caught:
            load(DataConfig(source, args=args))
        assert str(caught.value).startswith(message)
    for source, args, problem in [
        (f"{file}:square", {}, f"data.source: {file} defines no 'square'; did you mean 'squares'?"),
        ("none_such:fn", {}, "data.source: no module 'none_such' to import; install it or write file.py:fn"),
        ("mine:strict", {}, "data.args: missing key 'upto' of strict; add `upto: …`"),
        ("mine:strict", {"upto": 1, "x": 1}, "data.args: unknown key 'x'; known: upto"),
    ]:
        assert inspect(DataConfig(source, args=args)).problems == [problem]
    [problem] = inspect(DataConfig("gone.py:fn")).problems
    assert problem == "data.source: no such file: gone.py; correct the path"


def test_inspect_reads_only_the_first_row_of_a_large_file(tmp_path: Path):
    row = {"question": "x" * 1000}
    file = write(tmp_path, *[row] * (CHECKED_BYTES // 1000), "broken")
    assert inspect(jsonl(file)).rows is None
    assert inspect(jsonl(file, fields={"answer": "gold"})).problems == [f"{file}:1: no column 'gold'; known: question"]


def test_reading_a_recipe_imports_nothing_heavy():
    code = (
        "import sys; from rl.data.inspection import inspect; from rl.data.sources import DataConfig\n"
        "inspect(DataConfig('reasoning_gym', args={'dataset': 'gcd'})); inspect(DataConfig('huggingface', 'a/b'))\n"
        "heavy = {'torch', 'ray', 'transformers', 'datasets', 'pyarrow', 'reasoning_gym', 'numpy', 'sympy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@real
def test_gsm8k_by_fields():
    fields = {"answer": "answer_final", "reasoning": "solution", "response": "answer_final"}
    config = jsonl(DATA / "gsm8k" / "train.jsonl", fields=fields, final_mark="####")
    train, validation = load(config, "train"), load(config, "validation")
    assert (len(train), len(validation)) == (6973, 500)
    assert inspect(config, "validation").rows == 500
    assert train[0].id == "gsm8k-train-00000"
    assert train[0].answer == "72"
    assert train[0].demonstration is not None
    assert train[0].demonstration.reasoning.endswith("= <<48+24=72>>72 clips altogether in April and May.")
    assert all(p.demonstration and p.demonstration.response == p.answer for p in train)
    assert not any(p.demonstration and "####" in p.demonstration.reasoning for p in train)


@real
def test_knights_and_knaves_by_fields():
    fields = {"answer": "answer_final", "people": "n_people", "names": "names", "solution": "solution"}
    config = jsonl(DATA / "kk_logic" / "data.jsonl", fields=fields)
    assert [len(load(config, split)) for split in ("train", "validation", "test")] == [2000, 200, 250]
    first = load(config, "train", limit=1)[0]
    assert first.fields == {"people": 3, "names": ["Michael", "Zoey", "Ethan"], "solution": [True, True, True]}
    assert first.answer == "(1) Michael is a knight\n(2) Zoey is a knight\n(3) Ethan is a knight"
    with pytest.raises(ValueError, match=r"data\.jsonl: no split 'heldout'; there are "):
        load(config, "heldout")
