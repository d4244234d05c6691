"""Tables that `rl run` prints at its end: evaluations with intervals, differences between them, spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Group, RenderableType
from rich.text import Text

from rl.report.bare_table import bare_table
from rl.report.run_data import Difference, Run, Stage, compute_paired_difference, read_run
from rl.report.tables import format_interval
from rl.units import many

METRICS = {"accuracy": "accuracy", "greedy_accuracy": "greedy"}
"""Metric -> its column in per_prompt.parquet."""


def render_results(run_dir: Path) -> RenderableType:
    """Return a table of the run's evaluations: accuracies with 95 % intervals, and each one's gain over the latest
    earlier evaluation with the same prompts; files that cannot be read, which the report names, are left out. Raises
    ValueError if `run_dir` holds no run."""
    evaluations = read_run(run_dir, _leave_out).evaluations
    if not evaluations:
        return Text("no evaluation in this recipe; add one with `- evaluate: {data: …}`", "dim")
    table = bare_table("evaluation", "accuracy", "greedy accuracy", "gain in accuracy, same prompts")
    for i, stage in enumerate(evaluations):
        gain = _gain_over_earlier(evaluations[:i], stage)
        text = f"{format_difference(gain)}, {many(gain.prompts, 'prompt')}" if gain else ""
        # Text, because rich would read [brackets] in a stage's name as markup.
        cells = [Text(format_interval(stage.interval(metric))) for metric in METRICS]
        table.add_row(Text(stage.name), *cells, Text(text, _colour(gain)))
    return table


def render_seeds(run_dirs: Mapping[int, Path]) -> RenderableType:
    """Return tables of runs that differ in their seed: mean ± standard deviation of each evaluation, and for each seed
    the gain of the last evaluation over each earlier one. Raises ValueError if a directory holds no run."""
    runs = {seed: read_run(path) for seed, path in run_dirs.items()}
    seeds = [f"seed {seed}" for seed in runs]
    table = bare_table("evaluation", "metric", "mean ± sd", *seeds)
    names = list(dict.fromkeys(stage.name for run in runs.values() for stage in run.evaluations))
    for name in names:
        stages = [_evaluation(run, name) for run in runs.values()]
        for row, metric in enumerate(METRICS):  # the name stands in the first row of its group alone
            intervals = [stage.interval(metric) if stage else None for stage in stages]
            mean = _format_spread([interval[0] for interval in intervals if interval])
            table.add_row(Text("" if row else name), metric, mean, *(Text(format_interval(i)) for i in intervals))
    gains_table = bare_table("gain, same prompts", "metric", "mean ± sd", *seeds)
    for name in names[:-1]:  # the last evaluation, against each earlier one
        for row, (metric, column) in enumerate(METRICS.items()):
            gains = [_gain(run, name, names[-1], column) for run in runs.values()]
            if any(gains):  # evaluations of different splits share no prompt
                cells = [Text(format_difference(gain), _colour(gain)) for gain in gains]
                mean = _format_spread([gain.mean for gain in gains if gain], "+")
                # The number of prompts stands below the names.
                prompts = many(max(gain.prompts for gain in gains if gain), "prompt")
                gains_table.add_row(Text(prompts if row else f"{names[-1]} − {name}"), metric, mean, *cells)
    return Group(table, gains_table) if gains_table.row_count else table


def format_difference(difference: Difference | None) -> str:
    """Return `+0.071 [+0.052, +0.090]`, or nothing for None."""
    if difference is None:
        return ""
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _leave_out(_: ValueError) -> None:
    """Go on without what cannot be read."""


def _gain_over_earlier(earlier: Sequence[Stage], stage: Stage) -> Difference | None:
    for before in reversed(earlier):  # the one just before may be of another split
        gain = compute_paired_difference(before, stage, refuse=_leave_out)
        if gain is not None:
            return gain
    return None


def _gain(run: Run, before_name: str, after_name: str, column: str) -> Difference | None:
    before, after = _evaluation(run, before_name), _evaluation(run, after_name)
    if before is None or after is None:
        return None
    return compute_paired_difference(before, after, column)


def _colour(difference: Difference | None) -> str:
    if difference is None:
        return ""
    if difference.low > 0:
        return "green"
    return "red" if difference.high < 0 else "dim"  # dim: the interval includes 0


def _evaluation(run: Run, name: str) -> Stage | None:
    return next((stage for stage in run.evaluations if stage.name == name), None)


def _format_spread(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return "–"
    # One seed has no spread.
    return f"{fmean(values):{sign}.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
