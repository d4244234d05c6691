"""Data sets made for verl, TRL and ShareGPT are read by the names of their columns, without a mapping."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from rl.data.inspection import inspect
from rl.data.pairs import pairs_of
from rl.data.sources import DataConfig, load
from rl.types import AUDIO_PATCH, Demonstration, Message, Prompt


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def read(tmp_path: Path, *rows: object, source: str = "jsonl", **settings: object) -> list[Prompt]:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return load(DataConfig(source=source, path=str(file), **settings))  # type: ignore[arg-type]


VERL_ROW = {
    "data_source": "openai/gsm8k",
    "prompt": [user("What is 6 times 7?")],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "42"},
    "extra_info": {"split": "train", "index": 0},
}


def test_verl_parquet(tmp_path: Path) -> None:
    other = {**VERL_ROW, "reward_model": {"style": "rule", "ground_truth": None}, "extra_info": None}
    pq.write_table(pa.Table.from_pylist([VERL_ROW, other]), tmp_path / "train.parquet")
    config = DataConfig(source="verl", path=str(tmp_path / "train.parquet"))
    first, second = load(config)
    assert first.messages == (Message("user", "What is 6 times 7?"),)
    assert (first.answer, first.source, first.fields["ability"]) == ("42", "openai/gsm8k", "math")
    assert first.fields["extra_info"] == {"split": "train", "index": 0}
    assert second.answer is None
    assert "extra_info" not in second.fields
    facts = inspect(config, "train")
    assert facts.problems == []
    assert facts.rows == 2


@pytest.mark.parametrize(
    ("gold", "answer"),
    [(72, "72"), (0.5, "0.5"), ("", None), (True, None), ({"target": ["a", "b"]}, None), (["a"], None)],
)
def test_verl_ground_truth_keeps_its_type(tmp_path: Path, gold: object, answer: str | None) -> None:
    """A verifier gets what the file holds; those that compare with a text get one only where it is a text or a number."""
    (prompt,) = read(tmp_path, {**VERL_ROW, "reward_model": {"ground_truth": gold}}, source="verl")
    assert prompt.answer == answer
    assert prompt.fields["reward_model"] == {"ground_truth": gold}


def test_verl_without_its_optional_columns_and_with_a_mapping(tmp_path: Path) -> None:
    (prompt,) = read(tmp_path, {"prompt": [user("a")]}, source="verl")
    assert (prompt.answer, prompt.source, [*prompt.fields]) == (None, "", ["prompt"])
    row = {**VERL_ROW, "reward_model": {"ground_truth": {"target": ["x"]}}}
    (prompt,) = read(tmp_path, row, source="verl", fields={"answer": "reward_model.ground_truth.target.0"})
    assert prompt.answer == "x"
    for fields in ({"question": "q"}, {"question": "extra_info.index"}):
        (prompt,) = read(tmp_path, {"q": "a", "extra_info": {"index": "a"}}, source="verl", fields=fields)
        assert prompt.question == "a"
    with pytest.raises(ValueError, match="no column 'prompt'"):
        read(tmp_path, {"question": "a"}, source="verl")


def test_verl_audio_as_an_array(tmp_path: Path) -> None:
    for audio in ({"array": [0.0, 0.1] * 400, "sampling_rate": 16000}, {"audio": "a.wav"}):
        soundfile.write(tmp_path / "a.wav", [0.0, 0.1] * 400, 16000)
        (prompt,) = read(tmp_path, {**VERL_ROW, "audios": [audio]}, source="verl")
        assert len(prompt.clips) == 1
        assert prompt.messages[0].content == f"{AUDIO_PATCH}What is 6 times 7?"
    with pytest.raises(ValueError, match="array of column 'audios' is no sound"):
        read(tmp_path, {**VERL_ROW, "audios": [{"array": ["x"], "sampling_rate": 16000}]}, source="verl")


def test_verl_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [0.0, 0.1] * 400, 16000)
    data = (tmp_path / "a.wav").read_bytes()
    row = {**VERL_ROW, "prompt": [user("Before <audio> after.")], "audios": [{"bytes": data, "path": None}]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "train.parquet")
    (prompt,) = load(DataConfig(source="verl", path=str(tmp_path / "train.parquet")))
    assert prompt.messages[0].content == f"Before {AUDIO_PATCH} after."
    assert [clip.data for clip in prompt.clips] == [data]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("a"), assistant("b")]},
        {"prompt": "a", "completion": "b"},
        {"prompt": "a", "response": "b"},
        {"prompt": [user("a")], "completion": [assistant("b")]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    ],
)
def test_demonstrations(tmp_path: Path, row: object) -> None:
    (prompt,) = read(tmp_path, row)
    assert prompt.messages == (Message("user", "a"),)
    assert prompt.demonstration == Demonstration("", "b")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"prompt": [user("a")], "chosen": [assistant("b")], "rejected": [assistant("c")]},
        {"prompt": "a", "chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
        {"chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        {"chosen": "a b", "rejected": "a c"},
    ],
)
def test_pairs(tmp_path: Path, row: object) -> None:
    (pair,) = pairs_of(read(tmp_path, row), "data")
    assert pair.prompt.messages == (Message("user", "a"),)
    assert (pair.chosen, pair.rejected) == (Demonstration("", "b"), Demonstration("", "c"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "yes", "rejected": "no"}, "do not begin with one prompt"),
        ({"chosen": [user("a"), assistant("b")], "rejected": [user("x"), assistant("c")]}, "no two answers"),
        ({"prompt": "a", "chosen": [user("b")], "rejected": "c"}, "no single turn of the assistant"),
        ({"prompt": "a", "completion": True}, "'completion' is true or false, not text"),
        ({"prompt": [user("a")], "images": ["x.png"]}, "column 'images' would be lost"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "b"}]}, "no role"),
    ],
)
def test_rows_that_cannot_be_meant(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, row)


def test_further_columns_go_on(tmp_path: Path) -> None:
    rows = {"prompt": "a", "solution": "x", "answer": ["y"]}, {"prompt": "a", "images": []}
    first, second = read(tmp_path, *rows)
    assert dict(first.fields) == {"prompt": "a", "solution": "x", "answer": ["y"]}
    assert dict(second.fields) == {"prompt": "a", "images": []}


def test_a_mapped_prompt_is_left_alone(tmp_path: Path) -> None:
    (prompt,) = read(tmp_path, {"q": "x", "prompt": "other", "solution": "s"}, fields={"question": "q"})
    assert (prompt.question, dict(prompt.fields)) == ("x", {})


def test_optional_columns(tmp_path: Path) -> None:
    rows = {"question": "a", "info": {"level": 3}}, {"question": "b"}
    first, second = read(tmp_path, *rows, fields={"level": "info.level?"})
    assert (dict(first.fields), dict(second.fields)) == ({"level": 3}, {})
