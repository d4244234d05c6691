from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console, RenderableType

from rl.report.comparison import compare, compare_data
from rl.report.tables import show
from rl.run.summary import StageSummary, Summary, write_summary
from rl.run.tracker import Tracker


def printed(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def evaluated(
    run: Path, name: str, correct: dict[str, float], stages: tuple[str, ...] = ("test",), asked: str = "?"
) -> Path:
    """A finished run whose evaluations all gave these per-prompt accuracies."""
    mean = sum(correct.values()) / len(correct)
    metrics = {"accuracy": mean, "accuracy/low": mean - 0.1, "accuracy/high": mean + 0.1, "verifier_errors": 0.0}
    for number, stage in enumerate(stages):
        folder = run / "stages" / f"{number:02d}-{stage}"
        folder.mkdir(parents=True)
        greedy = [round(value) for value in correct.values()]
        texts = [asked] * len(correct)
        table = pa.table({"id": list(correct), "asked": texts, "accuracy": list(correct.values()), "greedy": greedy})
        pq.write_table(table, folder / "per_prompt.parquet")
    write_summary(run, Summary(name, "done", 60.0, [StageSummary(s, "evaluate", 5.0, metrics) for s in stages]))
    return run


def test_compare_pairs_by_prompt_whatever_the_order(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "a", "base", {"p": 0.0, "q": 0.25, "r": 0.5}, ("before", "test"))
    second = evaluated(tmp_path / "b", "better", {"r": 0.75, "q": 0.5, "new": 1.0, "p": 0.25}, ("test",))
    data = compare_data([first, second])
    assert data["runs"] == ["base", "better"]
    assert list(data["evaluations"]) == ["before", "test"]
    assert data["evaluations"]["before"]["accuracy"] == [(0.25, 0.15, 0.35), None]
    assert data["evaluations"]["test"]["verifier_errors"] == [(0.0, None, None)] * 2
    by_metric = {row["metric"]: row for row in data["paired"]}
    both = {"before": "base", "after": "better", "stage": "test", "prompts": 3}
    interval = {"difference": 0.25, "low": 0.25, "high": 0.25, "mean_before": 0.25, "mean_after": 0.5}
    assert by_metric["accuracy"] == {**both, "metric": "accuracy", **interval}
    assert by_metric["greedy_accuracy"]["difference"] == pytest.approx(1 / 3)
    text = printed(compare([first, second]))
    assert "0.625 [0.525, 0.725]" in text
    assert "better − base" in text
    assert "+0.250" in text


def test_runs_of_the_same_name_go_by_their_directories(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / seed, "quickstart", {seed: 1.0}) for seed in ("seed0", "seed1")]
    assert compare_data(runs)["runs"] == ["seed0", "seed1"]
    assert "no prompts in common" in printed(compare(runs))


def test_prompts_of_one_id_that_ask_something_else_are_not_compared(tmp_path: Path) -> None:
    """Rows without an id are numbered: `test/1` of two files are two prompts."""
    runs = [evaluated(tmp_path / name, name, {"test/1": 1.0}, asked=name) for name in ("sums", "capitals")]
    assert compare_data(runs)["paired"] == []


def test_show_a_finished_run(tmp_path: Path) -> None:
    text = printed(show(evaluated(tmp_path, "quickstart", {"p": 1.0})))
    assert "quickstart  done  1:00" in text
    assert "accuracy 1.000 [0.900, 1.100]" in text


def test_show_a_killed_run_says_how_far_it_came(tmp_path: Path) -> None:
    write_summary(tmp_path, Summary("words", "running", 4.0, [StageSummary("[sft]", "sft", 4.0, {"loss": 0.5})]))
    Tracker(tmp_path, "rlvr").record(17, {"reward": 0.25, "entropy": 1.5})
    (tmp_path / "tensorboard").mkdir()  # as the sink of that name makes it
    lines = printed(show(tmp_path)).splitlines()
    assert any(line.split() == ["[sft]", "sft", "0:04", "loss", "0.5"] for line in lines)
    assert any(line.split() == ["rlvr", "unfinished", "17", "reward", "0.25", "entropy", "1.5"] for line in lines)
    assert any("tensorboard --logdir" in line for line in lines)
    assert "has finished an evaluation" in printed(compare([tmp_path]))


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    for read in (show, lambda path: compare([path])):
        with pytest.raises(ValueError, match="holds no run; give the directory"):
            read(tmp_path)
