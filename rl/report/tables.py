"""Tables of `rl show` and `rl compare`, from the directories of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rl.report.lineage import read_lineage, render_tree
from rl.report.run_data import (
    Interval,
    Run,
    Stage,
    compute_paired_difference,
    list_artifacts,
    list_metrics,
    read_run,
)
from rl.run.progress import format_clock, format_headlines
from rl.stages.registry import measures_model
from rl.terminal import one_line

COLOURS = {"done": "green", "failed": "red", "interrupted": "yellow"}
"""Status of a run -> colour."""
GROUNDING_METRICS = ("grounding", "surrogate_rate", "denial_rate")
"""Metrics of an evaluation's chains, shown beside its accuracy."""


class PairedRow(TypedDict):
    """A paired difference between two runs: `after` minus `before` over the prompts that both evaluated in `stage`."""

    before: str
    after: str
    stage: str
    metric: str
    difference: float
    low: float
    high: float
    prompts: int


class Comparison(TypedDict):
    """Runs side by side: `evaluations` is {stage: {metric: [interval or None for each run]}}."""

    runs: list[str]
    evaluations: dict[str, dict[str, list[Interval | None]]]
    paired: list[PairedRow]


def show(run_dir: Path) -> RenderableType:
    """Return a run for the terminal: its stages with time, steps and headline metrics, its lineage and its artifacts.

    Raises ValueError if `run_dir` holds no run.
    """
    run = read_run(run_dir)
    title = Text.assemble((run.name, "bold"), "  ", (run.status, COLOURS.get(run.status, "cyan")))
    if run.seconds is not None:
        title.append(f"  {format_clock(run.seconds)}", "dim")
    stages = _table("stage", "kind", "time", "steps", "metrics")
    for stage in run.stages:
        state = format_clock(stage.seconds or 0.0) if stage.is_finished else "unfinished"
        last = "" if stage.last_step is None else str(stage.last_step)
        # Text, because rich would read [brackets] in a stage's name as markup.
        stages.add_row(Text(stage.name), stage.kind, state, last, Text(_summarise(stage)))
    parts: list[RenderableType] = [title]
    if run.failure:
        parts.append(Text(one_line(str(run.failure)), "red"))
    parts += [*(Text(one_line(f"warning: {text}"), "yellow") for text in run.warnings), stages]
    nodes = read_lineage(run_dir)
    if nodes:  # an unfinished run may have none
        parts.append(render_tree(nodes))
    artifacts = _table("artifact", "")
    for name, description in list_artifacts(run_dir):
        artifacts.add_row(Text(name), Text(description))
    if artifacts.row_count:
        parts.append(artifacts)
    return Group(*parts)


def compare(run_dirs: Sequence[Path]) -> RenderableType:
    """Return runs side by side for the terminal: every evaluation with its 95 % intervals, then differences to the first
    run over the same prompts. Raises ValueError if a directory holds no run."""
    data = compare_data(run_dirs)
    table = _table("evaluation", "metric", *data["runs"])
    for stage, metrics in data["evaluations"].items():
        for row, (metric, intervals) in enumerate(metrics.items()):
            table.add_row(Text("" if row else stage), metric, *(format_interval(interval) for interval in intervals))
    if not table.row_count:
        return Text("none of these runs has finished an evaluation")
    if not data["paired"]:
        return Group(table, Text("no prompts in common: no paired differences", "dim"))
    return Group(table, _differences(data))


def compare_data(run_dirs: Sequence[Path]) -> Comparison:
    """Return the numbers behind `compare`.

    Each run is paired with the first one on the last evaluation that both have by name, prompt by prompt. Raises
    ValueError if a directory holds no run.
    """
    runs = [read_run(Path(path)) for path in run_dirs]
    labels = _labels(runs)  # columns are headed by them
    names = dict.fromkeys(stage.name for run in runs for stage in run.evaluations)  # a set that keeps the order
    stages_by_name = [{stage.name: stage for stage in run.evaluations} for run in runs]
    evaluations = {
        name: {
            metric: [stages[name].interval(metric) if name in stages else None for stages in stages_by_name]
            for metric in list_metrics([stages[name] for stages in stages_by_name if name in stages])
        }
        for name in names
    }
    rows: list[PairedRow] = []
    for label, run in zip(labels[1:], runs[1:], strict=True):
        rows += _paired_rows((labels[0], runs[0]), (label, run))
    return {"runs": labels, "evaluations": evaluations, "paired": rows}


def format_interval(interval: Interval | None) -> str:
    """Return `0.412 [0.391, 0.433]`, `0.412` without bounds, or a dash for None."""
    if interval is None:
        return "–"
    value, low, high = interval
    if low is None or high is None:
        return f"{value:.4g}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _paired_rows(first: tuple[str, Run], second: tuple[str, Run]) -> list[PairedRow]:
    """Return the differences between two labelled runs on the last evaluation that both have."""
    second_stages = {stage.name: stage for stage in second[1].evaluations}
    pairs = [(stage, second_stages[stage.name]) for stage in first[1].evaluations if stage.name in second_stages]
    if not pairs:
        return []
    rows: list[PairedRow] = []
    before, after = pairs[-1]  # the last evaluation both have is the one after training
    for column, metric in (("accuracy", "accuracy"), ("greedy", "greedy_accuracy")):
        difference = compute_paired_difference(before, after, column)
        if difference is not None:
            rows.append(
                {
                    "before": first[0],
                    "after": second[0],
                    "stage": before.name,
                    "metric": metric,
                    "difference": difference.mean,
                    "low": difference.low,
                    "high": difference.high,
                    "prompts": difference.prompts,
                }
            )
    return rows


def _differences(data: Comparison) -> Table:
    table = _table("same prompts", "evaluation", "metric", "difference", "95 %", "prompts")
    for row in data["paired"]:
        colour = "dim"  # the interval includes 0
        if row["low"] > 0:
            colour = "green"
        elif row["high"] < 0:
            colour = "red"
        runs = Text(f"{row['after']} − {row['before']}")
        difference, interval = f"{row['difference']:+.3f}", f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        cells = (runs, Text(row["stage"]), row["metric"], Text(difference, colour), Text(interval), str(row["prompts"]))
        table.add_row(*cells)
    return table


def _summarise(stage: Stage) -> str:
    """Return one line on a stage: its results, or the metrics of its last step."""
    if measures_model(stage.kind):
        # Accuracy and greedy accuracy.
        accuracies = [f"{name} {format_interval(stage.interval(name))}" for name in list_metrics([stage])[:2]]
        grounding = [f"{name} {stage.metrics[name]:.3f}" for name in GROUNDING_METRICS if name in stage.metrics]
        return "  ".join(accuracies + grounding)
    if stage.metrics:
        return format_headlines(stage.metrics)
    return format_headlines(stage.rows[-1]) if stage.rows else ""


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return the shortest labels that differ for all runs: their names, their directories' names, or their paths."""
    names, folders = [run.name for run in runs], [run.path.name for run in runs]
    for labels in (names, folders):
        if len(set(labels)) == len(runs):
            return labels
    return [str(run.path) for run in runs]


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table
