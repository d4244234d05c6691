"""Prints tables (markdown) of finished runs of `speech_hands`, the seeds side by side: what each arm gains, and how it
chooses.

All in percent, 95 % intervals over prompts in brackets.

python scripts/benchmarks/hands.py runs/speech_hands
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from curves import list_seeds
from findings import read_stages

ARMS = {
    "own_ear": "own ear alone",
    "after_fusion": "fusion, no action",
    "after_hands": "Speech-Hands",
    "hands_unseen": "the same, an unheard voice",
    "after_asking": "asks where it was wrong",
    "after_priced": "after RL, a look costs 0.1",
    "after_dear": "after RL, a look costs 0.5",
}
GAINS = {
    "accuracy": "accuracy",
    "arbitration/own": "own",
    "arbitration/external": "external",
    "arbitration/oracle": "better of both",
    "arbitration/majority": "majority",
    "arbitration/dealt": "actions dealt anew",
    "arbitration/gap_closed": "gap closed",
    "arbitration/asked": "asked",
}
COUNTS = ("arbitration/rewrites",)
WITH_INTERVAL = ("accuracy", "arbitration/gap_closed")
CHOICES = {
    "arbitration/takes_internal": "internal",
    "arbitration/takes_external": "external",
    "arbitration/takes_rewrite": "rewrite",
    "arbitration/f1_internal": "F1 internal",
    "arbitration/f1_external": "F1 external",
    "arbitration/rewrite_right": "rewrite is better than both",
    "arbitration/rewrites": "rewrites",
    "arbitration/probability": "probability",
    "arbitration/chosen_right": "is the lowest error",
    "arbitration/calibration_error": "calibration error",
    "arbitration/copied": "is the candidate",
    "arbitration/takes_external_silenced": "external in silence",
}


def render_table(runs: Sequence[Mapping[str, Mapping[str, float]]], columns: Mapping[str, str]) -> str:
    """Return a table of the arms that have any of the metrics."""
    rows = [f"| | {' | '.join(columns.values())} |", "|---|" + "---|" * len(columns)]
    for stage, label in ARMS.items():
        cells = [" · ".join(_show(name, run[stage]) for run in runs if stage in run) for name in columns]
        if any(cell.strip("– ·") for cell in cells):
            rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _show(name: str, metrics: Mapping[str, float]) -> str:
    if name not in metrics:
        return "–"
    if name in COUNTS:
        return f"{metrics[name]:.0f}"
    value = f"{100 * metrics[name]:.1f}"
    if name in WITH_INTERVAL:
        value += f" ({100 * metrics[f'{name}/low']:.0f} to {100 * metrics[f'{name}/high']:.0f})"
    return value


if __name__ == "__main__":
    finished_runs = [read_stages(run) for run in list_seeds(Path(sys.argv[1]))]
    print(render_table(finished_runs, GAINS), render_table(finished_runs, CHOICES), sep="\n\n")
