"""A run directory as one value, in whatever state the run was left: the input of `rl show`, `rl compare` and the report."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rl.config import ConfigError
from rl.data.arrow import parquet_columns, read_columns
from rl.data.rows import fail
from rl.run.metrics import paired_interval
from rl.run.summary import Failure, Recovery, read_summary
from rl.run.tracker import MetricRow, Refuse, read_metrics, read_warnings, rollout_files
from rl.stages.registry import measures_model
from rl.terminal import shell_command

Interval = tuple[float, float | None, float | None]
"""(value, low, high); the bounds are None where a stage recorded none."""


class Difference(NamedTuple):
    """A difference between two stages over the prompts that both have, with its paired 95 % interval."""

    mean: float
    low: float
    high: float
    prompts: int
    """Number of prompts that both stages have."""
    before: float
    """Mean of the first stage over these prompts, which may be fewer than it measured."""
    after: float
    """Mean of the second stage over them; `after - before` is `mean`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run, finished or not."""

    name: str
    kind: str
    """Kind as in the recipe; empty while the stage is unfinished, because the summary does not list it yet."""
    is_finished: bool
    seconds: float | None
    metrics: Mapping[str, float]
    """Final metrics of a finished stage."""
    rows: Sequence[MetricRow]
    """Lines of the stage in metrics.jsonl, one for each step."""
    folder: Path | None
    """Folder of the stage under `stages/`, or None before it has one."""

    @property
    def last_step(self) -> int | None:
        """Last recorded step, or None before the first."""
        return self.rows[-1]["step"] if self.rows else None

    def interval(self, metric: str) -> Interval | None:
        """Return the metric with its `/low` and `/high`, or None if the stage does not have it."""
        value = self.metrics.get(metric)
        if value is None:
            return None
        return value, self.metrics.get(f"{metric}/low"), self.metrics.get(f"{metric}/high")


@dataclass(frozen=True, slots=True)
class Run:
    """A run with its stages, those of the summary first, then the unfinished ones."""

    path: Path
    name: str
    status: str
    seconds: float | None
    stages: Sequence[Stage]
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: Sequence[str] = ()
    """Warnings that its stages gave."""
    failure: Failure | None = None
    """Error that ended the run, and where it was then; None for a run that did not fail."""
    recoveries: Sequence[Recovery] = ()
    """Losses of its cluster that it has recovered from by itself."""

    @property
    def evaluations(self) -> list[Stage]:
        """Finished evaluations, in order."""
        return [stage for stage in self.stages if measures_model(stage.kind)]


def read_run(run_dir: Path, refuse: Refuse = fail) -> Run:
    """Read summary, metrics and stage folders of a run; `refuse` gets a ValueError for lines that cannot be read. Raises
    ValueError if `run_dir` holds no run."""
    summary = read_summary(run_dir)
    rows: dict[str, list[MetricRow]] = {}
    for row in read_metrics(run_dir, refuse):
        rows.setdefault(row["stage"], []).append(row)
    # A stage's folder is `stages/NN-NAME`.
    folders = {p.name.partition("-")[2]: p for p in sorted((run_dir / "stages").glob("[0-9]*-*")) if p.is_dir()}
    stages = [
        Stage(s.name, s.kind, True, s.seconds, s.metrics, rows.get(s.name, []), folders.get(s.name))
        for s in (summary.stages if summary else ())
    ]
    # A stage that a kill interrupted has a folder or metrics, and is not in the summary.
    finished_names = {stage.name for stage in stages}
    unfinished_names = [name for name in dict.fromkeys([*folders, *rows]) if name not in finished_names]
    stages += [Stage(name, "", False, None, {}, rows.get(name, []), folders.get(name)) for name in unfinished_names]
    warnings = read_warnings(run_dir, refuse)
    if summary is None:
        return Run(run_dir, run_dir.resolve().name, "no summary yet", None, stages, warnings=warnings)
    return Run(
        run_dir,
        summary.name,
        summary.status,
        summary.seconds,
        stages,
        summary.environment,
        warnings,
        summary.failure,
        summary.recoveries,
    )


def find_newest_run(folder: Path) -> Path:
    """Return the run within `folder`, up to three folders deep, that was written to last. Raises ConfigError without any."""
    ages: dict[Path, float] = {}
    for pattern in ("*", "*/*", "*/*/*"):  # runs/NAME, runs/NAME/seed-0, runs/learning/NAME/seed-0
        for recipe in folder.glob(f"{pattern}/recipe.yaml"):
            files = [recipe, recipe.with_name("summary.json"), recipe.with_name("metrics.jsonl")]
            ages[recipe.parent] = max(file.stat().st_mtime for file in files if file.exists())
    if not ages:
        raise ConfigError(f"{folder}/: holds no run; name the directory of one")
    return max(ages, key=lambda run: ages[run])


def list_metrics(stages: Sequence[Stage]) -> list[str]:
    """Return the metrics of these stages without their bounds: accuracies first, then pass@k, then in recorded order."""
    names = dict.fromkeys(name for stage in stages for name in stage.metrics)
    means = [name for name in names if not re.search(r"/(low|high)$", name)]
    accuracies = [name for name in ("accuracy", "greedy_accuracy") if name in names]
    passes = [name for name in means if name.startswith("pass@")]
    return list(dict.fromkeys([*accuracies, *passes, *means]))


def compute_paired_difference(
    before: Stage, after: Stage, column: str = "accuracy", refuse: Refuse = fail
) -> Difference | None:
    """Return the difference of `column` in the `per_prompt.parquet` of two stages, or None if they share no prompt.

    Prompts are the same if both their id and their text are. `refuse` gets a ValueError for a file that cannot be read.
    """
    values_before, values_after = (_read_per_prompt(stage, column, refuse) for stage in (before, after))
    prompts = [prompt for prompt in values_before if prompt in values_after]
    if not prompts:
        return None
    paired_before, paired_after = ([values[prompt] for prompt in prompts] for values in (values_before, values_after))
    mean, low, high = paired_interval(paired_before, paired_after)
    return Difference(mean, low, high, len(prompts), fmean(paired_before), fmean(paired_after))


def group_by_prompts(evaluations: Sequence[Stage], refuse: Refuse = fail) -> list[list[Stage]]:
    """Return the evaluations in groups that were given the same prompts, in order; `refuse` gets a ValueError for a file that
    cannot be read."""
    # Keyed by the set of prompts.
    groups: dict[frozenset[tuple[str, str]] | str, list[Stage]] = {}
    for stage in evaluations:
        prompts = frozenset(_read_per_prompt(stage, "accuracy", refuse))
        groups.setdefault(prompts or stage.name, []).append(stage)  # without a file, a stage is a group of its own
    return list(groups.values())


def _read_per_prompt(stage: Stage, column: str, refuse: Refuse) -> dict[tuple[str, str], float]:
    """Return {(id, text of the prompt): value}, without the prompts that have no value."""
    path = stage.folder / "per_prompt.parquet" if stage.folder else None
    if path is None or not os.path.lexists(path):
        return {}
    # Ids alone do not do: rows of a file without ids are numbered, so `test/1` of two files are two prompts. Files of
    # an earlier version have no column `asked`.
    kinds = {"id": "text", "asked": "text", column: "number?"}
    try:
        columns = parquet_columns(path)
        rows = read_columns(path, {name: kind for name, kind in kinds.items() if name == "id" or name in columns})
    except ValueError as error:
        refuse(error)
        return {}
    values = {(row["id"], row.get("asked", "")): row.get(column) for row in rows}
    return {prompt: float(value) for prompt, value in values.items() if value is not None and math.isfinite(value)}


def list_artifacts(run_dir: Path) -> list[tuple[str, str]]:
    """Return (path within the run, description) of the artifacts that exist."""
    artifacts = [
        (name, description)
        for name, description in (
            ("report.html", "the report"),
            ("model", "the model, Hugging Face layout"),
            ("recipe.yaml", "the recipe"),
        )
        if (run_dir / name).exists()
    ]
    files = rollout_files(run_dir)
    if files:
        artifacts.append(("rollouts/", f"{len(files)} files of samples"))
    if (run_dir / "tensorboard").is_dir():
        artifacts.append(("tensorboard/", shell_command("tensorboard", "--logdir", run_dir / "tensorboard")))
    return artifacts
