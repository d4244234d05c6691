"""`rl show` and `rl compare`: runs as tables on the terminal, from what their directories hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rl.report.lineage import read_lineage, tree
from rl.report.run_data import Interval, Run, Stage, artifacts, measures, paired, read_run
from rl.run.progress import format_clock, format_headlines

COLOURS = {"done": "green", "failed": "red", "interrupted": "yellow"}

RESTS_ON = ("grounding", "surrogate_rate", "denial_rate")
"""What an evaluation's chains rest on, said beside its accuracy."""


def show(run_dir: Path) -> RenderableType:
    """One run: its stages with time and headline metrics, how far an unfinished one came, what came of what, and its
    artifacts. Raises ValueError for what is no run directory."""
    run = read_run(run_dir)
    title = Text.assemble((run.name, "bold"), "  ", (run.status, COLOURS.get(run.status, "cyan")))
    if run.seconds is not None:
        title.append(f"  {format_clock(run.seconds)}", "dim")
    stages = _table("stage", "kind", "time", "steps", "metrics")
    for stage in run.stages:
        state = format_clock(stage.seconds or 0.0) if stage.finished else "unfinished"
        last = "" if stage.last_step is None else str(stage.last_step)
        stages.add_row(Text(stage.name), stage.kind, state, last, Text(_says(stage)))
    lists = _table("artifact", "")
    for name, says in artifacts(run_dir):
        lists.add_row(Text(name), Text(says))
    nodes = read_lineage(run_dir)
    parts = [part for part, shown in ((tree(nodes), nodes), (lists, lists.row_count)) if shown]
    return Group(title, stages, *parts)


def compare(run_dirs: Sequence[Path]) -> RenderableType:
    """Runs side by side: every evaluation with its 95 % intervals, then differences to the first run over the same
    prompts. Raises ValueError for what is no run directory."""
    data = compare_data(run_dirs)
    table = _table("evaluation", "metric", *data["runs"])
    for stage, metrics in data["evaluations"].items():
        for place, (metric, values) in enumerate(metrics.items()):
            table.add_row(Text("" if place else stage), metric, *(interval_text(value) for value in values))
    if not table.row_count:
        return Text("none of these runs has finished an evaluation")
    if not data["paired"]:
        return Group(table, Text("no prompts in common: no paired differences", "dim"))
    return Group(table, _differences(data))


def compare_data(run_dirs: Sequence[Path]) -> dict[str, Any]:
    """`{"runs": [label…], "evaluations": {stage: {metric: [(value, low, high) or None for each run]}}, "paired":
    [{"before", "after", "stage", "metric", "difference", "low", "high", "prompts"}…]}`. Each run is paired with the
    first on the last evaluation that both have by name, prompt by prompt. Raises ValueError for no run directory."""
    runs = [read_run(Path(path)) for path in run_dirs]
    labels = _labels(runs)
    names = dict.fromkeys(stage.name for run in runs for stage in run.evaluations)
    found = [{stage.name: stage for stage in run.evaluations} for run in runs]
    evaluations = {
        name: {
            metric: [stages[name].interval(metric) if name in stages else None for stages in found]
            for metric in measures([stages[name] for stages in found if name in stages])
        }
        for name in names
    }
    differences = [
        {"before": labels[0], "after": label, **row}
        for label, run in zip(labels[1:], runs[1:], strict=True)
        for row in _paired_rows(runs[0], run)
    ]
    return {"runs": labels, "evaluations": evaluations, "paired": differences}


def interval_text(interval: Interval | None) -> str:
    """`0.412 [0.391, 0.433]`."""
    if interval is None:
        return "–"
    value, low, high = interval
    return f"{value:.4g}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _paired_rows(first: Run, other: Run) -> list[dict[str, Any]]:
    theirs = {stage.name: stage for stage in other.evaluations}
    shared = [(stage, theirs[stage.name]) for stage in first.evaluations if stage.name in theirs]
    rows: list[dict[str, Any]] = []
    for column, metric in (("accuracy", "accuracy"), ("greedy", "greedy_accuracy")) if shared else ():
        if (found := paired(*shared[-1], column)) is not None:
            difference, low, high, prompts = found
            bounds = {"difference": difference, "low": low, "high": high, "prompts": prompts}
            rows.append({"stage": shared[-1][0].name, "metric": metric, **bounds})
    return rows


def _differences(data: dict[str, Any]) -> Table:
    table = _table("same prompts", "evaluation", "metric", "difference", "95 %", "prompts")
    for row in data["paired"]:
        apart = "green" if row["low"] > 0 else "red" if row["high"] < 0 else "dim"
        runs = Text(f"{row['after']} − {row['before']}")
        difference, interval = f"{row['difference']:+.3f}", f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        cells = (runs, Text(row["stage"]), row["metric"], Text(difference, apart), Text(interval), str(row["prompts"]))
        table.add_row(*cells)
    return table


def _says(stage: Stage) -> str:
    """What to say of a stage in one line: its own results, or where its last step stood."""
    if stage.kind == "evaluate":
        said = [f"{name} {interval_text(stage.interval(name))}" for name in measures([stage])[:2]]
        return "  ".join(said + [f"{name} {stage.metrics[name]:.3f}" for name in RESTS_ON if name in stage.metrics])
    return format_headlines(stage.metrics or (stage.rows[-1] if stage.rows else {}))


def _labels(runs: Sequence[Run]) -> list[str]:
    """The shortest that tells the runs apart: their names, their directories' names, their paths."""
    names, folders = [run.name for run in runs], [run.path.name for run in runs]
    return next((labels for labels in (names, folders) if len(set(labels)) == len(runs)), [str(r.path) for r in runs])


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table
