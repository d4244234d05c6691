"""What a run came to, as one ends it: its evaluations with intervals, what changed between them, and over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rl.report.run_data import Run, Stage, paired, read_run
from rl.report.tables import interval_text

if TYPE_CHECKING:
    from rl.recipe import Recipe

METRICS = {"accuracy": "accuracy", "greedy_accuracy": "greedy"}
"""Metric -> its column in per_prompt.parquet."""

Change = tuple[float, float, float, int]


def results(run_dir: Path) -> RenderableType:
    """The evaluations of a run: accuracies with 95 % intervals, and how they changed since the evaluation before over
    the same prompts. Raises ValueError for what is no run directory."""
    evaluations = read_run(run_dir).evaluations
    table = _table("evaluation", "accuracy", "greedy accuracy", "accuracy gained, same prompts")
    for i, stage in enumerate(evaluations):
        change = next((c for before in reversed(evaluations[:i]) if (c := paired(before, stage))), None)
        cells = [Text(interval_text(stage.interval(metric))) for metric in METRICS]
        table.add_row(Text(stage.name), *cells, Text(change_text(change), _colour(change)))
    return table if evaluations else Text("no evaluation in this recipe; add one with `- evaluate: {data: …}`", "dim")


def over_seeds(run_dirs: Mapping[int, Path]) -> RenderableType:
    """Runs that differ in their seed: mean ± standard deviation of each evaluation, and for each seed what the last
    evaluation gained over each earlier one. Raises ValueError for what is no run directory."""
    runs = {seed: read_run(path) for seed, path in run_dirs.items()}
    seeds = [f"seed {seed}" for seed in runs]
    table = _table("evaluation", "metric", "mean ± sd", *seeds)
    names = list(dict.fromkeys(stage.name for run in runs.values() for stage in run.evaluations))
    for name in names:
        stages = [_named(run, name) for run in runs.values()]
        for place, metric in enumerate(METRICS):
            intervals = [stage.interval(metric) if stage else None for stage in stages]
            mean = _spread([interval[0] for interval in intervals if interval])
            table.add_row(Text("" if place else name), metric, mean, *(Text(interval_text(i)) for i in intervals))
    changes = _table("gained, same prompts", "metric", "mean ± sd", *seeds)
    for name in names[:-1]:
        for place, (metric, column) in enumerate(METRICS.items()):
            pairs = [(_named(run, name), _named(run, names[-1])) for run in runs.values()]
            found = [paired(before, after, column) if before and after else None for before, after in pairs]
            if any(found):
                cells = [Text(change_text(change), _colour(change)) for change in found]
                mean = _spread([change[0] for change in found if change], "+")
                changes.add_row(Text("" if place else f"{names[-1]} − {name}"), metric, mean, *cells)
    return Group(table, changes) if changes.row_count else table


def next_steps(argument: str, recipe: Recipe, run_dir: Path, again: Path) -> list[str]:
    """Where the run's things are, and commands worth trying: `argument` is what the recipe was called, `again` where a
    second run could lie."""
    trained = [stage for stage in recipe.stages if stage.kind == "rlvr"]
    other = "grpo" if not trained or trained[-1].config.algorithm != "grpo" else "rloo"
    change = f"{trained[-1].base}.algorithm={other}" if trained else f"seed={recipe.header.seed + 1}"
    lines: list[tuple[str, object]] = [("report", run_dir / "report.html")]
    lines += [("model", run_dir / "model")] if (run_dir / "model").is_dir() else []
    lines += [("look", f"rl show {run_dir}"), ("try", f"rl run {argument} {change} --out {again}")]
    return [f"{name:8}{what}" for name, what in [*lines, ("then", f"rl compare {run_dir} {again}")]]


def change_text(change: Change | None) -> str:
    """`+0.071 [0.052, 0.090]`."""
    return "" if change is None else f"{change[0]:+.3f} [{change[1]:+.3f}, {change[2]:+.3f}]"


def _colour(change: Change | None) -> str:
    return "" if change is None else "green" if change[1] > 0 else "red" if change[2] < 0 else "dim"


def _named(run: Run, name: str) -> Stage | None:
    return next((stage for stage in run.evaluations if stage.name == name), None)


def _spread(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return "–"
    return f"{fmean(values):{sign}.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
