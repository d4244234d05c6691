"""A run directory as one value, whatever state the run was left in: what `show`, `compare` and the report look at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl.run.metrics import paired_interval
from rl.run.summary import read_summary
from rl.run.tracker import read_metrics, rollout_files

Interval = tuple[float, float | None, float | None]
"""(value, low, high); the bounds are None where a stage gave none."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run, finished or begun. `rows` are its lines of metrics.jsonl, one for each step."""

    name: str
    kind: str
    """Empty while the stage is unfinished and only its files tell of it."""
    finished: bool
    seconds: float | None
    metrics: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]]
    folder: Path | None

    @property
    def last_step(self) -> int | None:
        return self.rows[-1]["step"] if self.rows else None

    def interval(self, metric: str) -> Interval | None:
        """The metric with its `/low` and `/high`, or None if the stage has it not."""
        value = self.metrics.get(metric)
        return None if value is None else (value, self.metrics.get(f"{metric}/low"), self.metrics.get(f"{metric}/high"))


@dataclass(frozen=True, slots=True)
class Run:
    path: Path
    name: str
    status: str
    seconds: float | None
    stages: Sequence[Stage]
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def evaluations(self) -> list[Stage]:
        return [stage for stage in self.stages if stage.kind == "evaluate"]


def read_run(run_dir: Path) -> Run:
    """Reads summary, metrics and folders. Raises ValueError for what is no run directory."""
    summary = read_summary(run_dir)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_metrics(run_dir):
        rows.setdefault(row["stage"], []).append(row)
    folders = {p.name.partition("-")[2]: p for p in sorted((run_dir / "stages").glob("[0-9]*-*")) if p.is_dir()}
    stages = [
        Stage(s.name, s.kind, True, s.seconds, s.metrics, rows.get(s.name, []), folders.get(s.name))
        for s in (summary.stages if summary else ())
    ]
    done = {stage.name for stage in stages}
    begun = [name for name in dict.fromkeys([*folders, *rows]) if name not in done]
    stages += [Stage(name, "", False, None, {}, rows.get(name, []), folders.get(name)) for name in begun]
    if summary is None:
        return Run(run_dir, run_dir.resolve().name, "no summary yet", None, stages)
    return Run(run_dir, summary.name, summary.status, summary.seconds, stages, summary.environment)


def measures(stages: Sequence[Stage]) -> list[str]:
    """The metrics of these stages, bounds apart, in order: the three that are read first, then as the stages have them."""
    names = dict.fromkeys(name for stage in stages for name in stage.metrics)
    shown = [name for name in names if not re.search(r"/(low|high)$", name)]
    first = [name for name in ("accuracy", "greedy_accuracy") if name in names]
    passes = [name for name in shown if name.startswith("pass@")]
    return list(dict.fromkeys([*first, *passes, *shown]))


def paired(before: Stage, after: Stage, column: str = "accuracy") -> tuple[float, float, float, int] | None:
    """(difference, low, high, prompts) of `column` in the two stages' `per_prompt.parquet`, over the prompts that both
    have, by id and by what was asked; None where there are none."""
    values_before, values_after = _per_prompt(before, column), _per_prompt(after, column)
    shared = [prompt for prompt in values_before if prompt in values_after]
    if not shared:
        return None
    interval = paired_interval(
        [values_before[prompt] for prompt in shared], [values_after[prompt] for prompt in shared]
    )
    return *interval, len(shared)


def same_prompts(evaluations: Sequence[Stage]) -> list[list[Stage]]:
    """The evaluations by what they were asked: those over the same prompts together, in order."""
    groups: dict[frozenset[tuple[str, str]] | str, list[Stage]] = {}
    for stage in evaluations:
        groups.setdefault(frozenset(_per_prompt(stage, "accuracy")) or stage.name, []).append(stage)
    return list(groups.values())


def _per_prompt(stage: Stage, column: str) -> dict[tuple[str, str], float]:
    path = stage.folder / "per_prompt.parquet" if stage.folder else None
    if path is None or not path.exists():
        return {}
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()  # a run of an earlier version does not tell what was asked
    return {(row["id"], row.get("asked", "")): float(row[column]) for row in rows if row.get(column) is not None}


def artifacts(run_dir: Path) -> list[tuple[str, str]]:
    """(path within the run, what it is) of what there is to look at or to use next."""
    known = [("report.html", "the report"), ("model", "the model, Hugging Face layout"), ("recipe.yaml", "the recipe")]
    found = [(name, says) for name, says in known if (run_dir / name).exists()]
    files = rollout_files(run_dir)
    if files:
        found.append(("rollouts/", f"{len(files)} files of samples"))
    if (run_dir / "tensorboard").is_dir():
        found.append(("tensorboard/", f"tensorboard --logdir {run_dir / 'tensorboard'}"))
    return found
