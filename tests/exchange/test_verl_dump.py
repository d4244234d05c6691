"""verl's rollout_data_dir is replayed under another reward, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rl.commands.runs import show
from rl.config import ConfigError
from rl.exchange.verl_dump import is_dump, read_dump, summarise
from rl.workbench.replay import compare_groups, compare_means, load_reward, replay

QUESTION = "user\nWhat is 6 times 7?\nassistant\n"
REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(str(ground_truth) in solution_str)
"""


def row(output: str, score: float | None, step: int, question: str = QUESTION, **extras: object) -> dict[str, object]:
    return {"input": question, "output": output, "gts": 42, "score": score, "step": step, **extras}


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(REWARD)
    folder = tmp_path / "rollouts"
    folder.mkdir()
    first = [row("42", 0.0, 2, acc=False, uid="a"), row("41", 1.0, 2, acc=True, uid="b"), row("42!", 0.0, 2, "Other")]
    second = [row("42", 1.0, 10, acc=1), row("x", None, 10, acc=0)]
    for step, rows in ((2, first), (10, second)):
        (folder / f"{step}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


def row_texts(folder: Path, steps: int | None = None) -> list[tuple[int, str, int, str]]:
    return [(s.step, s.rollout.prompt.id, s.rollout.sample, s.rollout.text) for s in read_dump(folder, steps)]


def test_samples(dump: Path) -> None:
    assert is_dump(dump)
    assert row_texts(dump) == [
        (2, "2/0", 0, "42"), (2, "2/0", 1, "41"), (2, "2/1", 0, "42!"), (10, "10/0", 0, "42"), (10, "10/0", 1, "x"),
    ]  # fmt: skip
    assert [step for step, *_ in row_texts(dump, steps=1)] == [10, 10]
    first = read_dump(dump)[0]
    assert (first.score, dict(first.parts)) == (0.0, {"acc": 0.0})
    assert (first.rollout.prompt.answer, first.rollout.prompt.fields["uid"]) == ("42", "a")


def test_replay(dump: Path) -> None:
    config, folder = load_reward("mine.py:compute_score")
    samples = replay(dump, config, folder, say=lambda line: None)
    assert [sample.new_score for sample in samples] == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert compare_means(samples)["errors"] == (1.0, 0.0)
    assert compare_groups(samples)["other_best"] == 1
    with pytest.raises(ConfigError, match="no stage of verl's samples"):
        replay(dump, config, folder, stage="rlvr")


def test_show(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = summarise(dump)
    assert (first["samples"], first["groups"], first["score"], first["acc"]) == (3, 2, pytest.approx(1 / 3), 0.5)
    assert (second["step"], second["without_score"], second["score"]) == (10, 1, 1.0)
    show(dump)
    assert "rl verifiers replay" in capsys.readouterr().out
    show(dump, as_json=True)
    assert [step["step"] for step in json.loads(capsys.readouterr().out)["steps"]] == [2, 10]


def test_other_folders_and_damaged_files(dump: Path, tmp_path: Path) -> None:
    assert not is_dump(tmp_path)
    (dump / "11.jsonl").write_text('{"output": "a"}\n')
    with pytest.raises(
        ValueError, match=r"11.jsonl:1: 'input' is null, not a text; a file of verl's rollout_data_dir has"
    ):
        read_dump(dump)
