"""`rl compare`: runs side by side, what their recipes differ in, their curves, and differences over the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rl.report.bare_table import bare_table
from rl.report.curves import Curve, read_curves, render_curves
from rl.report.recipe_differences import RecipeDifference, find_differences, format_value
from rl.report.run_data import Interval, Run, compute_paired_difference, list_metrics, read_run
from rl.report.tables import format_interval


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
    """Number of prompts that both have evaluated; the means are over these."""
    mean_before: float
    mean_after: float


class Comparison(TypedDict):
    """Runs side by side: `evaluations` is {stage: {metric: [interval or None for each run]}}."""

    runs: list[str]
    recipe: list[RecipeDifference]
    evaluations: dict[str, dict[str, list[Interval | None]]]
    paired: list[PairedRow]
    curves: list[Curve]


def compare(run_dirs: Sequence[Path]) -> RenderableType:
    """Return runs side by side for the terminal: what their recipes differ in, their reward over steps, every evaluation with
    its 95 % intervals, then differences to the first run over the same prompts. Raises ValueError if a directory holds no
    run."""
    data = compare_data(run_dirs)
    parts: list[RenderableType] = [_recipes(data)]
    if data["curves"]:
        parts.append(render_curves(data["curves"]))
    table = bare_table("evaluation", "metric", *data["runs"])
    for stage, metrics in data["evaluations"].items():
        for row, (metric, intervals) in enumerate(metrics.items()):
            table.add_row(Text("" if row else stage), metric, *(format_interval(interval) for interval in intervals))
    if not table.row_count:
        return Group(*parts, Text("none of these runs has finished an evaluation"))
    if not data["paired"]:
        return Group(*parts, table, Text("no prompts in common: no paired differences", "dim"))
    return Group(*parts, table, _differences(data))


def compare_json(run_dirs: Sequence[Path]) -> dict[str, object]:
    """Return what `rl compare --json` prints (docs/runs.md). Raises ValueError if a directory holds no run."""
    data = compare_data(run_dirs)
    runs = [{"label": label, "run": str(path)} for label, path in zip(data["runs"], run_dirs, strict=True)]
    evaluations = [
        {"evaluation": stage, "metric": metric, "values": [_as_json(interval) for interval in intervals]}
        for stage, metrics in data["evaluations"].items()
        for metric, intervals in metrics.items()
    ]
    return {**data, "runs": runs, "evaluations": evaluations}


def _as_json(interval: Interval | None) -> dict[str, float | None] | None:
    return None if interval is None else dict(zip(("value", "low", "high"), interval, strict=True))


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
    return {
        "runs": labels,
        "recipe": find_differences(run_dirs),
        "evaluations": evaluations,
        "paired": rows,
        "curves": read_curves(list(zip(labels, runs, strict=True))),
    }


def _recipes(data: Comparison) -> RenderableType:
    if not data["recipe"]:
        return Text("the recipes are the same", "dim")
    table = bare_table("recipe", *data["runs"])
    for row in data["recipe"]:
        table.add_row(Text(row["key"]), *(Text(format_value(value)) for value in row["values"]))
    return table


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
                    "mean_before": difference.before,
                    "mean_after": difference.after,
                }
            )
    return rows


def _differences(data: Comparison) -> Table:
    table = bare_table("same prompts", "evaluation", "metric", "from → to", "difference", "95 %", "prompts")
    for row in data["paired"]:
        colour = "dim"  # the interval includes 0
        if row["low"] > 0:
            colour = "green"
        elif row["high"] < 0:
            colour = "red"
        runs = Text(f"{row['after']} − {row['before']}")
        difference, interval = f"{row['difference']:+.3f}", f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        means = f"{row['mean_before']:.3f} → {row['mean_after']:.3f}"
        cells = (
            runs,
            Text(row["stage"]),
            row["metric"],
            means,
            Text(difference, colour),
            Text(interval),
            str(row["prompts"]),
        )
        table.add_row(*cells)
    return table


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return the shortest labels that differ for all runs: their names, their directories' names, or their paths."""
    names, folders = [run.name for run in runs], [run.path.name for run in runs]
    for labels in (names, folders):
        if len(set(labels)) == len(runs):
            return labels
    return [str(run.path) for run in runs]
