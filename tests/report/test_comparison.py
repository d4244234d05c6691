"""What runs differ in, their curves, and the JSON of `rl show` and `rl compare`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from rl import cli
from rl.recipe import load
from rl.report.comparison import compare
from rl.report.curves import read_curves, render_curves
from rl.report.recipe_differences import find_differences, format_value
from rl.report.run_data import find_newest_run, read_run
from rl.run.summary import Failure, StageSummary, Summary, write_summary
from rl.run.tracker import Tracker

Command = Callable[..., tuple[int, str, str]]
WORDS: dict[str, Any] = {
    "name": "words",
    "model": {"build": {"hidden_size": 64, "layers": 1, "heads": 2}},
    "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 20}}},
    "reward": {"parts": [{"verifier": "text"}, {"verifier": "format", "name": "format"}]},
    "stages": [
        {"repeat": {"times": 2, "stages": [{"sft": {"data": "words"}}, {"rlvr": {"data": "words"}}]}},
        {"evaluate": {"name": "after", "data": "words"}},
    ],
}


@pytest.fixture
def rl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """(exit code, stdout, stderr) of a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli._exit_code(list(arguments), debug=False)
        return code, *capsys.readouterr()

    return call


def started(run: Path, *overrides: str, rewards: tuple[float, ...] = (0.25, 0.5, 1.0), status: str = "done") -> Path:
    """A run of the recipe with these overrides, which recorded these rewards."""
    run.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(json.loads(json.dumps(load(WORDS, overrides).source))), run / "recipe.yaml")
    for step, reward in enumerate(rewards, 1):
        Tracker(run, "rlvr@1").record(step, {"reward": reward, "loss": 1.0})
    metrics = {"accuracy": 0.5, "accuracy/low": 0.4, "accuracy/high": 0.6, "pass@8": float("nan")}
    write_summary(run, Summary("words", status, 9.0, [StageSummary("after", "evaluate", 1.0, metrics)]))
    return run


def printed(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_recipes_differ_in_the_keys_that_overrides_name(tmp_path: Path) -> None:
    changes = ["rlvr.algorithm=grpo", "seed=3", "after.limit=7", "reward.parts[1].weight=0.5", "repeat.times=3"]
    runs = [started(tmp_path / "a"), started(tmp_path / "b", *changes), started(tmp_path / "c", "seed=3")]
    found = {difference["key"]: difference["values"] for difference in find_differences(runs)}
    assert found == {
        "seed": [0, 3, 3],
        "reward.parts[1].weight": [1.0, 0.5, 1.0],
        "repeat.times": [2, 3, 2],
        "rlvr.algorithm": ["ppo", "grpo", "ppo"],
        "after.limit": [None, 7, None],
    }
    assert find_differences([runs[0], runs[0]]) == []
    for key, values in found.items():  # and an override of that name makes one recipe the other
        assert load(WORDS, [f"{key}={values[1]}"]).source != load(WORDS).source
    text = printed(compare(runs))
    assert "rlvr.algorithm" in text
    assert "grpo" in text
    assert "the recipes are the same" in printed(compare([runs[0], runs[0]]))


def test_stages_that_only_one_recipe_has_are_named(tmp_path: Path) -> None:
    other = started(tmp_path / "b", "stages=[{rlvr: {data: words}}]")
    found = {d["key"]: d["values"] for d in find_differences([started(tmp_path / "a"), other])}
    assert found["stages"] == ["repeat, sft, rlvr, after", "rlvr"]
    assert found["sft.data"] == ["words", None]
    assert "rlvr.data" not in found
    (other / "recipe.yaml").write_text("[")
    assert find_differences([tmp_path / "a", other]) == []
    assert (format_value(None), format_value(True), len(format_value("x" * 99))) == ("–", "true", 60)


def test_curves_of_runs_share_a_scale(tmp_path: Path) -> None:
    a = read_run(started(tmp_path / "a", rewards=(0.0, 0.5, 1.0)))
    b = read_run(started(tmp_path / "b", rewards=(1.0, float("nan"), 0.0, 0.0, 0.0, 0.0)))
    curves = read_curves([("a", a), ("b", b)])
    assert [(c["run"], c["stage"], c["metric"]) for c in curves] == [
        ("a", "rlvr@1", "reward"),
        ("b", "rlvr@1", "reward"),
    ]
    assert curves[1]["values"] == [1.0, None, 0.0, 0.0, 0.0, 0.0]
    lines = printed(render_curves(curves)).splitlines()
    assert any("▁▅█ " in line and "0 → 1" in line for line in lines)
    assert any("█ ▁▁▁▁" in line and "1 → 0" in line for line in lines)
    flat = read_run(started(tmp_path / "flat", rewards=(0.5,) * 200))
    assert "▁" * 40 in printed(render_curves(read_curves([("flat", flat)])))
    empty = read_run(started(tmp_path / "empty", rewards=(float("nan"),)))
    assert [curve["metric"] for curve in read_curves([("empty", empty)])] == ["loss"], "no reward was a number"


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_show_as_json(rl: Command) -> None:
    started(Path("runs/words"), rewards=(0.5, float("inf")))
    code, out, err = rl("show", "runs/words", "--json")
    assert (code, err) == (0, "")
    data = strict(out)
    keys = [
        "run",
        "name",
        "status",
        "failure",
        "seconds",
        "stages",
        "warnings",
        "recoveries",
        "environment",
        "artifacts",
    ]
    assert list(data) == keys
    assert (data["run"], data["name"], data["status"], data["failure"]) == ("runs/words", "words", "done", None)
    after, rlvr = data["stages"]
    assert after["metrics"] == {"accuracy": 0.5, "accuracy/low": 0.4, "accuracy/high": 0.6}, (
        "what is no number is left out"
    )
    assert (rlvr["name"], rlvr["finished"], rlvr["step"]) == ("rlvr@1", False, 2)
    assert rlvr["last"] == {"loss": 1.0}
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    assert all(f"`{key}`" in page for key in [*data, *after]), "documented"


def test_why_a_run_failed_as_json(rl: Command) -> None:
    started(Path("run"))
    write_summary(Path("run"), Summary("words", "failed", 1.0, failure=Failure("the disk is full", "sft", 3)))
    data = strict(rl("show", "run", "--json")[1])
    assert (data["status"], data["failure"]) == ("failed", {"error": "the disk is full", "stage": "sft", "step": 3})


def test_compare_as_json(rl: Command) -> None:
    started(Path("a")), started(Path("b"), "seed=1"), started(Path("c"), "seed=2")
    code, out, err = rl("compare", "a", "b", "c", "--json")
    assert (code, err) == (0, "")
    data = strict(out)
    assert data["runs"] == [{"label": name, "run": name} for name in "abc"]
    assert data["recipe"] == [{"key": "seed", "values": [0, 1, 2]}]
    accuracy = {"evaluation": "after", "metric": "accuracy", "values": [{"value": 0.5, "low": 0.4, "high": 0.6}] * 3}
    assert accuracy in data["evaluations"]
    assert [curve["values"] for curve in data["curves"]] == [[0.25, 0.5, 1.0]] * 3
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    keys = [*data, *data["runs"][0], *data["recipe"][0], *data["evaluations"][0], *data["curves"][0]]
    assert all(f"`{key}`" in page for key in keys), "documented"
    assert "mean_before" in page


def test_faithful_or_lucky_is_compared(rl: Command) -> None:
    cells = ("right_and_faithful", "right_but_unfaithful", "wrong_but_faithful", "wrong_and_unfaithful")
    for name, shares in (("first", (0.5, 0.25, 0.0, 0.25)), ("second", (0.75, 0.0, 0.125, 0.125))):
        started(Path(name))
        metrics = {"accuracy": shares[0] + shares[1], **dict(zip(cells, shares, strict=True))}
        write_summary(Path(name), Summary("words", "done", 9.0, [StageSummary("after", "evaluate", 1.0, metrics)]))
    _, table, _ = rl("compare", "first", "second")
    assert all(cell in table for cell in cells)
    _, as_json, _ = rl("compare", "first", "second", "--json")
    assert all(cell in as_json for cell in cells)


def test_show_finds_the_newest_run(rl: Command) -> None:
    code, _, err = rl("show")
    assert (code, err) == (2, "error: runs/: holds no run; name the directory of one\n")
    for age, name in enumerate(("words", "words-2", "learning/words/seed-0", "other/seed-1")):
        run = started(Path("runs", name))
        for file in run.glob("*.*"):
            os.utime(file, (1000 + age, 1000 + age))
        assert find_newest_run(Path("runs")) == run
        assert f"done  0:09  {run}" in rl("show")[1]
    os.utime("runs/words/metrics.jsonl", (9999, 9999))  # gone on with
    assert strict(rl("show", "--json")[1])["run"] == "runs/words"


def test_a_run_is_followed_to_its_end(rl: Command) -> None:
    started(Path("runs/words"))
    code, out, _ = rl("show", "--follow")
    assert (code, out.count("rlvr@1")) == (0, 2)  # in the table of stages and beside its curve
    assert rl("show", "--follow", "--json")[0] == 2
