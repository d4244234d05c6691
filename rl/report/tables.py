"""The tables and the JSON of `rl show`, from the directory of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from rl.report.bare_table import bare_table
from rl.report.curves import read_curves, render_curves
from rl.report.lineage import read_lineage, render_tree
from rl.report.run_data import Interval, Stage, list_artifacts, list_metrics, read_run
from rl.run.progress import format_clock, format_headlines
from rl.stages.registry import measures_model
from rl.terminal import one_line

COLOURS = {"done": "green", "failed": "red", "interrupted": "yellow"}
"""Status of a run -> colour."""
GROUNDING_METRICS = ("grounding", "surrogate_rate", "denial_rate")
"""Metrics of an evaluation's chains, shown beside its accuracy."""
EXCHANGE_METRICS = {
    "environment/replies": "replies",
    "environment/sounds": "sounds",
    "environment/iou": "IoU",
    "environment/errors": "errors",
}
"""Metrics of the exchanges with an environment, shown where a stage has one: means of a rollout, and errors in all."""


def show(run_dir: Path) -> RenderableType:
    """Return a run for the terminal: its stages with time, steps and headline metrics, its lineage and its artifacts.

    Raises ValueError if `run_dir` holds no run.
    """
    run = read_run(run_dir)
    title = Text.assemble((run.name, "bold"), "  ", (run.status, COLOURS.get(run.status, "cyan")))
    if run.seconds is not None:
        title.append(f"  {format_clock(run.seconds)}", "dim")
    title.append(f"  {run_dir}", "dim")
    stages = bare_table("stage", "kind", "time", "steps", "metrics")
    for stage in run.stages:
        state = format_clock(stage.seconds or 0.0) if stage.is_finished else "unfinished"
        last = "" if stage.last_step is None else str(stage.last_step)
        # Text, because rich would read [brackets] in a stage's name as markup.
        stages.add_row(Text(stage.name), stage.kind, state, last, Text(_summarise(stage)))
    parts: list[RenderableType] = [title]
    if run.failure:
        parts.append(Text(one_line(str(run.failure)), "red"))
    parts += [*(Text(one_line(f"warning: {text}"), "yellow") for text in run.warnings), stages]
    if curves := read_curves([(run.name, run)]):
        parts.append(render_curves(curves))
    nodes = read_lineage(run_dir)
    if nodes:  # an unfinished run may have none
        parts.append(render_tree(nodes))
    artifacts = bare_table("artifact", "")
    for name, description in list_artifacts(run_dir):
        artifacts.add_row(Text(name), Text(description))
    if artifacts.row_count:
        parts.append(artifacts)
    return Group(*parts)


def show_data(run_dir: Path) -> dict[str, object]:
    """Return what `rl show --json` prints (docs/runs.md). Raises ValueError if `run_dir` holds no run."""
    run = read_run(run_dir)
    stages = [
        {
            "name": stage.name,
            "kind": stage.kind,
            "finished": stage.is_finished,
            "seconds": stage.seconds,
            "step": stage.last_step,
            "metrics": dict(stage.metrics),
            "last": {name: value for name, value in stage.rows[-1].items() if name not in ("stage", "step")}
            if stage.rows
            else {},
        }
        for stage in run.stages
    ]
    return {
        "run": str(run_dir),
        "name": run.name,
        "status": run.status,
        "failure": asdict(run.failure) if run.failure else None,
        "seconds": run.seconds,
        "stages": stages,
        "warnings": list(run.warnings),
        "recoveries": [asdict(recovery) for recovery in run.recoveries],
        "environment": dict(run.environment),
        "artifacts": [name for name, _ in list_artifacts(run_dir)],
    }


def format_interval(interval: Interval | None) -> str:
    """Return `0.412 [0.391, 0.433]`, `0.412` without bounds, or a dash for None."""
    if interval is None:
        return "–"
    value, low, high = interval
    if low is None or high is None:
        return f"{value:.4g}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _summarise(stage: Stage) -> str:
    """Return one line on a stage: its results, or the metrics of its last step."""
    if measures_model(stage.kind):
        # Accuracy and greedy accuracy.
        accuracies = [f"{name} {format_interval(stage.interval(name))}" for name in list_metrics([stage])[:2]]
        grounding = [f"{name} {stage.metrics[name]:.3f}" for name in GROUNDING_METRICS if name in stage.metrics]
        return "  ".join([*accuracies, *grounding, *_exchanges(stage.metrics)])
    metrics = stage.metrics or (stage.rows[-1] if stage.rows else {})
    # A trained stage's exchanges are in its last step, whatever its result keeps.
    newest = stage.rows[-1] if stage.rows else metrics
    return "  ".join([format_headlines(metrics), *_exchanges(newest)]) if metrics else ""


def _exchanges(metrics: Mapping[str, object]) -> list[str]:
    """Return what happened between the model and its environment, a text for each number; none without an environment."""
    values = {title: metrics[name] for name, title in EXCHANGE_METRICS.items() if name in metrics}
    return [f"{title} {value:.3g}" for title, value in values.items() if isinstance(value, int | float)]
