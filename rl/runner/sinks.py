"""Opens the sinks that a recipe's `track` names, and hands them at a run's end its evaluations and its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from rl.recipe import Recipe
from rl.redaction import redact
from rl.report.page import write_report
from rl.report.run_data import Stage, read_run
from rl.run.sinks import registry
from rl.run.sinks.base import RunFacts
from rl.run.sinks.channels import PATIENCE_S, Channels
from rl.run.tracker import append_warning

REPORT = "report.html"


def open_sinks(recipe: Recipe, out: Path, provenance: Mapping[str, object], say: Callable[[str], None]) -> Channels:
    """Return the recipe's sinks, each of which starts in a thread of its own."""

    def warn(text: str) -> None:
        append_warning(out, "track", 0, text)
        say(f"warning: {text}")

    registry.hide_keys()
    config = json.loads(json.dumps(redact(recipe.source)))  # as it is saved: plain values, without secrets
    facts = RunFacts(recipe.name, out, config, provenance, say)
    entries = {registry.title(entry): registry.factory(entry, recipe.folder) for entry in recipe.header.track}
    return Channels(facts, entries, warn)


def end_records(sinks: Channels, out: Path, say: Callable[[str], None]) -> None:
    """Write the last report of a run and close its sinks, also where the report cannot be written."""
    try:
        write_report(out, say)
    finally:
        close_sinks(sinks, out)


def close_sinks(sinks: Channels, out: Path) -> None:
    """Hand on the evaluations and the report, and wait until all is sent; a run that did not come to its end waits less."""
    run = read_run(out, lambda _: None)
    rows = [row for stage in run.evaluations for row in _rows(stage)]
    if rows:
        sinks.record_table("evaluations", rows)
    if (out / REPORT).exists():
        sinks.record_artifact(out / REPORT)
    sinks.close(run.status, PATIENCE_S if run.status == "done" else PATIENCE_S / 6)


def _rows(stage: Stage) -> list[dict[str, str | float]]:
    """Return a row for each metric of an evaluation, with its 95 % interval where it has one."""
    rows: list[dict[str, str | float]] = []
    for name, value in stage.metrics.items():
        if not name.endswith(("/low", "/high")):
            low, high = stage.metrics.get(f"{name}/low", value), stage.metrics.get(f"{name}/high", value)
            rows.append({"evaluation": stage.name, "metric": name, "value": value, "low": low, "high": high})
    return rows
