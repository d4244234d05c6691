"""Prints tables (markdown) of finished runs of the recipe `echo`, the seeds side by side.

python scripts/benchmarks/echo.py runs/findings/echo
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from curves import list_seeds
from findings import read_stages

from rl.run.metrics import paired_interval

ARMS = {
    "once_warm": "hears once, SFT",
    "once_after": "hears once, RL",
    "unheard_warm": "tags unheard, SFT",
    "unheard_after": "tags unheard, RL",
    "first_heard": "tags unheard in SFT, heard now",
    "heard_warm": "tags heard, SFT",
    "heard_after": "tags heard, RL",
    "elsewhere_after": "the same, with another stretch",
}
COLUMNS = {
    "accuracy": "accuracy",
    "environment/sounds": "sounds an answer",
    "environment/iou": "IoU with the stretch",
    "read_tokens": "tokens read",
    "time/sample": "ms a sample",
}
DIFFERENCES = {
    "heard less unheard, SFT": ("unheard_warm", "heard_warm"),
    "heard for the first time less unheard, before RL": ("unheard_warm", "first_heard"),
    "heard less unheard, RL": ("unheard_after", "heard_after"),
    "heard less once, SFT": ("once_warm", "heard_warm"),
    "heard less once, RL": ("once_after", "heard_after"),
    "heard, RL less SFT": ("heard_warm", "heard_after"),
    "another stretch less the right one": ("heard_after", "elsewhere_after"),
}


def format_value(name: str, metrics: Mapping[str, float]) -> str:
    """Return a metric as the table shows it."""
    value = metrics.get(name)
    if value is None:
        return "–"
    if name == "read_tokens":
        return f"{value:.0f}"
    if name == "time/sample":
        return f"{1000 * value:.0f}"
    return f"{value:.2f}" if name.startswith("environment/") else f"{100 * value:.1f}"


def read_accuracies(run: Path, stage: str) -> dict[str, float]:
    """Return {prompt id: accuracy} of an evaluation."""
    (folder,) = (run / "stages").glob(f"[0-9]*-{stage}")
    rows: list[dict[str, float]] = parquet.read_table(folder / "per_prompt.parquet").to_pylist()
    return {str(row["id"]): row["accuracy"] for row in rows}


def difference(run: Path, before: str, after: str) -> str:
    """Return how much better one evaluation is than another on the same prompts, in points with a 95 % interval."""
    first, second = read_accuracies(run, before), read_accuracies(run, after)
    common = sorted(first.keys() & second.keys())
    values = paired_interval(np.array([first[id] for id in common]), np.array([second[id] for id in common]))
    mean, low, high = (100 * value for value in values)
    return f"{mean:+.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    runs = list_seeds(Path(sys.argv[1]))
    print(f"| | {' | '.join(COLUMNS.values())} |\n|---|{'---|' * len(COLUMNS)}")
    for stage, label in ARMS.items():
        cells = [" · ".join(format_value(name, read_stages(run)[stage]) for run in runs) for name in COLUMNS]
        print(f"| {label} | {' | '.join(cells)} |")
    print(f"\n| points | {' | '.join(run.name for run in runs)} |\n|---|{'---|' * len(runs)}")
    for label, pair in DIFFERENCES.items():
        print(f"| {label} | {' | '.join(difference(run, *pair) for run in runs)} |")
