"""`rl init`: from columns of any name to a recipe that `rl check` accepts, and nothing over a file that is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from plans import whole

from rl.commands.init import init
from rl.config import ConfigError
from rl.planning.plan import plan
from rl.recipe import Recipe, load
from rl.starter.guesses import DataGuess, guess
from rl.starter.recipe_text import Choices, Sizes, quote, render
from rl.starter.rewards import guess_reward

CONFIG = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 2048,
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    whole(Path("model"), CONFIG)


def write(name: str, rows: list[dict[str, object]]) -> str:
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), name)
    else:
        Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return name


def drafted(data: str, *, model: str = "model", **flags: object) -> Recipe:
    """Write a recipe by flags and load it again; `rl check` has nothing against it."""
    init(Path("out.yaml"), model=model, data_file=data, **{"gpus": 0, **flags})  # type: ignore[arg-type]
    recipe = load("out.yaml")
    assert plan(recipe).problems == []
    return recipe


@pytest.mark.parametrize(
    ("row", "fields", "reward"),
    [
        ({"question": "2+2?", "answer": "4"}, {"question": "question", "answer": "answer"}, "math"),
        ({"Problem Statement": "2+2?", "Correct Answer": "4"}, {"question": "Problem Statement", "answer": "Correct Answer"}, "math"),
        ({"问题": "二加二？", "答案": "4"}, {"question": "问题", "answer": "答案"}, "math"),
        ({"question": "Is it?", "answer": "perhaps"}, {"question": "question", "answer": "answer"}, "text"),
        ({"question": "Which?", "answer": "(B)"}, {"question": "question", "answer": "answer"}, "choice"),
        (
            {"question": "Which?", "choices": ["red", "blue"], "answer": "blue"},
            {"question": "question", "answer": "answer", "options": "choices"},
            "choice",
        ),
        (
            {"prompt": [{"role": "user", "content": "2+2?"}], "reward_model": {"style": "rule", "ground_truth": "4"}},
            {"messages": "prompt", "answer": "reward_model.ground_truth"},
            "math",
        ),
        ({"text": "Sort a list.", "test_list": ["assert sort([2, 1]) == [1, 2]"]}, {"question": "text"}, "code"),
        ({"question": "2+2?", "answer": "two and two\n#### 4"}, {"question": "question", "answer": "answer"}, "math"),
        ({"prompt": "Discuss.", "reference": "well " * 30}, {"question": "prompt", "answer": "reference"}, "judge"),
        ({"first words of it": "What is it, then?", "answer": "5"}, {"question": "first words of it", "answer": "answer"}, "math"),
    ],
)  # fmt: skip
def test_columns_and_reward_are_guessed(row: dict[str, object], fields: dict[str, str], reward: str) -> None:
    name = write("rows.parquet" if "reward_model" in row else "rows.jsonl", [row] * 3)
    data = guess(name, Path(name), {})
    assert {key: column for key, column in data.fields.items() if key != "split"} == fields
    assert guess_reward(data)[0] == reward


def test_a_recipe_by_flags_passes_the_check() -> None:
    rows: list[dict[str, object]] = [{"q": f"{i} + 1?", "final answer": str(i + 1), "split": "train"} for i in range(8)]
    data = write("rows.jsonl", [*rows, {"q": "9?", "final answer": "9", "split": "validation"}])
    recipe = drafted(data, fields="question=q")
    before, rlvr, after = recipe.stages
    assert (before.config.split, rlvr.config.split, after.config.split) == ("validation", "train", "validation")
    assert [part.verifier for part in recipe.header.reward.parts] == ["math"]
    assert Path("out.yaml").read_text().count("#") > 5  # comments


def test_sound_without_a_question_is_asked_about_with_all_labels() -> None:
    rows: list[dict[str, object]] = [{"clip": b"RIFF" + bytes(40), "label": label} for label in ["dog"] * 300 + ["cat"]]
    data = guess(write("rows.parquet", rows), Path("rows.parquet"), {})
    assert data.fields == {"audio": "clip", "answer": "label"}
    assert data.labels == ["cat", "dog"]
    with pytest.raises(ConfigError, match=r"^--model: model reads text only, and column 'clip' holds sound"):
        drafted("rows.parquet")


def test_demonstrations_without_answers_are_imitated() -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello to you."}]
    assert [stage.kind for stage in drafted(write("chats.jsonl", [{"messages": turns}] * 4)).stages] == ["sft"]
    Path("out.yaml").unlink()
    turns = [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello to you."}]  # ShareGPT's
    assert [stage.kind for stage in drafted(write("chats.jsonl", [{"conversations": turns}] * 4)).stages] == ["sft"]


ASKED = [{"role": "user", "content": "Hi."}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "Hello."}]


@pytest.mark.parametrize(
    ("chats", "is_answered"),
    [
        ([None, None], False),
        ([[], []], False),
        ([None, ANSWERED], True),
        ([[], ANSWERED], True),
        ([ASKED, ANSWERED], False),
    ],
)
def test_a_named_column_of_conversations_may_be_empty_at_first(chats: list[object], is_answered: bool) -> None:
    name = write("chats.jsonl", [{"chat": chat} for chat in chats])
    assert guess(name, Path(name), {"messages": "chat"}).has_demonstrations == is_answered


@pytest.mark.parametrize(
    ("gpus", "rows", "sequences"), [(4, None, 32), (0, None, 8), (4, 100, 32), (4, 5, 5), (0, 100, 8), (0, 5, 5)]
)
def test_a_step_of_imitation_takes_what_the_machine_holds_and_there_is(
    gpus: int, rows: int | None, sequences: int
) -> None:
    data = DataGuess("chats.jsonl", "jsonl", 1, [], {"messages": "chat"})
    choices = Choices("x", {"path": "model"}, data, None, "", gpus, 80.0, 2, train_rows=rows)
    text = render(choices, Sizes(answer_tokens=8, prompt_tokens=8, tokens_per_microbatch=64))
    assert f"      sequences_per_step: {sequences}\n" in text


def test_lengths_fit_prompts_model_and_machine() -> None:
    data = write("rows.jsonl", [{"question": "word " * 4 * i, "answer": "1"} for i in range(1, 100)])
    (_, rlvr, _) = drafted(data).stages
    assert 700 < rlvr.config.max_sequence_tokens <= 2048
    write("rows.jsonl", [{"question": "word " * 4000, "answer": "1"}] * 4)
    Path("out.yaml").unlink()
    with pytest.raises(ConfigError, match=r"^--model: it takes 2048 tokens, and the longest prompt has 7500"):
        drafted(data)


def test_gpus_elsewhere_are_planned_for() -> None:
    data = write("rows.jsonl", [{"question": f"{i}?", "answer": "1"} for i in range(40)])
    recipe = drafted(data, gpus=4, gpu_memory=24.0)
    assert recipe.header.trainer.ranks == recipe.header.engines.count == 4
    assert recipe.header.cluster.expect
    assert recipe.header.cluster.expect.gpu_memory_gb == 24.0
    Path("out.yaml").unlink()
    recipe = drafted(data, gpus=8, model="Qwen/Qwen2.5-7B-Instruct")  # not here: by its name
    assert (recipe.header.trainer.zero_stage, recipe.header.model.dtype) == (3, "bfloat16")


def test_rows_that_cannot_be_read_are_skipped_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    data = write("rows.jsonl", [{"question": f"{i}?", "answer": "1"} for i in range(9)])
    with open(data, "a") as file:
        file.write("{broken\n")
    assert drafted(data).header.data["questions"].on_bad_row == "skip"
    assert "1 row skipped, first rows.jsonl:10: invalid JSON" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.jsonl", b"", "empty.jsonl: holds no rows; name a file with at least one"),
        ("empty.csv", b"", "empty.csv: no header"),
        ("noheader.csv", b"1+1?,2\n2+2?,4\n", "no column of noheader.csv looks like a question.*its header"),
        ("numbers.jsonl", b'{"x": 1, "y": 2}\n', r"no column of numbers.jsonl looks like a question.*\(x, y\)"),
        ("noise.bin", bytes(range(128, 228)), "noise.bin: neither jsonl, json, csv nor parquet"),
        ("latin.csv", "question,answer\nGrün?,ja\n".encode("latin-1"), "latin.csv: not utf-8"),
        ("cut.parquet", b"PAR1 and no more", "cut.parquet: cannot be read as parquet"),
        ("null.jsonl", b'{"question": null}\n{"question": null}\n', "looks like a question"),
    ],
)
def test_a_file_that_does_not_do_is_one_line(name: str, content: bytes, problem: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"^--data: .*{problem}") as error:
        drafted(name)
    assert "\n" not in str(error.value)
    assert not Path("out.yaml").exists()


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"reward": "maths"}, "^--reward: no reward 'maths'; did you mean 'math'?"),
        ({"reward": "mine.py"}, "^--reward: name the function too: mine.py:verify"),
        ({"reward": "mine.py:verify"}, r"reward\.parts\[0\]\.verifier: no file mine.py"),
        ({"reward": "code"}, "^rows.jsonl: no column holds tests for 'code'"),
        ({"fields": "question"}, "^--fields: 'question' is not KEY=COLUMN"),
        ({"fields": "answer=gold"}, "^--fields: rows.jsonl has no column 'gold' for answer; it has question, answer"),
        ({"model": "nowhere/../model/model.safetensors"}, "model"),
        ({"test": "missing.jsonl"}, "missing.jsonl"),
    ],
)
def test_flags_that_do_not_do_write_nothing(flags: dict[str, str], problem: str) -> None:
    data = write("rows.jsonl", [{"question": "2?", "answer": "2"}] * 4)
    with pytest.raises(ConfigError, match=problem):
        drafted(data, **flags)
    assert not Path("out.yaml").exists()


def test_it_never_overwrites_and_does_not_ask_a_pipe() -> None:
    data = write("rows.jsonl", [{"question": "2?", "answer": "2"}] * 4)
    Path("mine.yaml").write_text("precious\n")
    rl = [sys.executable, "-m", "rl", "init"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([*rl, *arguments], env=environment, input="", capture_output=True, text=True)
        return done.returncode, done.stderr

    refusal = "error: mine.yaml: exists already; name another file: rl init FILE.yaml\n"
    assert run("mine.yaml", "--model", "model", "--data", data) == (2, refusal)
    assert Path("mine.yaml").read_text() == "precious\n"
    assert run()[1] == "error: --data: name a jsonl, json, csv or parquet file\n"
    assert run("--data", data)[1].startswith("error: --model: name a model's folder, a run's directory, or a model")


@pytest.mark.parametrize(
    "text", ["yes", "y", "1", "null", "a b", "a: b", "${oc.env:HOME}", 'with "quotes"', "{x}", "é"]
)
def test_what_is_quoted_is_read_back(text: str) -> None:
    write("rows.jsonl", [{text: f"What is {i}?", "label": "2"} for i in range(4)])
    assert drafted("rows.jsonl").header.data["questions"].fields == {"question": text, "answer": "label"}
    assert quote("plain_name.part") == "plain_name.part"
