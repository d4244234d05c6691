"""Curves of training metrics of several runs on one scale, as lines of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from rich.table import Table
from rich.text import Text

from rl.report.bare_table import bare_table
from rl.report.run_data import Run, Stage
from rl.stages.registry import filters_rows, measures_model

METRICS = ("reward", "eval/accuracy", "loss")
"""Metrics of a training stage whose curve is drawn; `loss` only of a stage without a reward."""
BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 40


class Curve(TypedDict):
    """A metric of one stage of one run, step by step; a value that is no number is None."""

    run: str
    stage: str
    metric: str
    steps: list[int]
    values: list[float | None]


def read_curves(runs: Sequence[tuple[str, Run]]) -> list[Curve]:
    """Return the curves of labelled runs, those of one stage and metric side by side."""
    names = dict.fromkeys(stage.name for _, run in runs for stage in run.stages if _is_training(stage))
    curves: list[Curve] = []
    for name in names:
        stages = [(label, stage) for label, run in runs for stage in run.stages if stage.name == name]
        metrics = {metric for _, stage in stages for row in stage.rows for metric in METRICS if metric in row}
        if "reward" in metrics:
            metrics.discard("loss")
        for metric in sorted(metrics, key=METRICS.index):
            curves += [_curve(label, stage, metric) for label, stage in stages]
    return [curve for curve in curves if curve["steps"]]


def render_curves(curves: Sequence[Curve]) -> Table:
    """Return a table of the curves; those of one metric of several runs are on one scale, under each other."""
    has_several = len({curve["run"] for curve in curves}) > 1
    columns = ["stage", "metric", *(["run"] if has_several else []), "over the steps", "first → last", "steps"]
    table = bare_table(*columns)
    for curve in curves:
        siblings = [
            sibling for sibling in curves if (sibling["stage"], sibling["metric"]) == (curve["stage"], curve["metric"])
        ]
        numbers = [value for value in curve["values"] if value is not None]
        ends = f"{numbers[0]:.4g} → {numbers[-1]:.4g}" if numbers else "–"
        names = [curve["stage"], curve["metric"]] if curve is siblings[0] else ["", ""]
        names += [curve["run"]] if has_several else []
        line = Text(_draw(curve, siblings), no_wrap=True)
        table.add_row(*map(Text, names), line, ends, str(curve["steps"][-1]))
    return table


def _draw(curve: Curve, others: Sequence[Curve], width: int = WIDTH) -> str:
    """Return a curve as a row of blocks, on the scale of steps and values that it shares with `others` of its metric:
    `▁▁▂▄▆▇█`. A column is the mean of the steps in it, and blank without any."""
    last = max(1, *(step for other in others for step in other["steps"]))
    numbers = [value for other in others for value in other["values"] if value is not None]
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    # A run of few steps has a column for each: more would be blank.
    width = min(width, last)
    columns: list[list[float]] = [[] for _ in range(width)]
    for step, value in zip(curve["steps"], curve["values"], strict=True):
        if value is not None:
            columns[min(max(step - 1, 0) * width // last, width - 1)].append(value)
    heights = [(sum(column) / len(column) - low) / (high - low or 1.0) if column else None for column in columns]
    marks = [" " if height is None else BLOCKS[min(int(height * len(BLOCKS)), len(BLOCKS) - 1)] for height in heights]
    return "".join(marks).rstrip()


def _is_training(stage: Stage) -> bool:
    return bool(stage.rows) and not filters_rows(stage.kind) and not measures_model(stage.kind)


def _curve(label: str, stage: Stage, metric: str) -> Curve:
    # A step whose metric was no number has none in its row: a gap in the curve.
    rows = stage.rows if any(metric in row for row in stage.rows) else []
    numbers = [row.get(metric) for row in rows]
    values = [None if number is None or not math.isfinite(number) else float(number) for number in numbers]
    return {
        "run": label,
        "stage": stage.name,
        "metric": metric,
        "steps": [row["step"] for row in rows],
        "values": values,
    }
