"""Finished runs of the findings' recipes to tables (markdown, on stdout) and curves (one SVG).

python scripts/benchmarks/findings.py docs/findings.svg runs/findings/format_and_data runs/findings/step_audio_r1_mini
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from curves import drawing, panel, seeds

from rl.run.summary import read_summary
from rl.run.tracker import read_metrics

FORMAT = {
    "before_format": "warm start",
    "after_format": "with format part",
    "after_no_format": "without format part",
}
DATA = {
    "warm": "warm start",
    "after_medium_only": "medium",
    "after_failed_only": "failed only",
    "after_unfiltered": "unfiltered, 10 × the data",
}
ITERATIONS = {
    "base": "after text RL",
    "check@1": "MGRD 1",
    "check@2": "MGRD 2",
    "thinking": "after DPO (test split)",
}
THINKING = {"thinking_before": "before MGRD", "thinking": "after MGRD and DPO"}


def metrics(run: Path) -> dict[str, Mapping[str, float]]:
    summary = read_summary(run)
    assert summary is not None, f"{run}: not finished"
    return {stage.name: stage.metrics for stage in summary.stages}


def table(folder: Path, stages: Mapping[str, str], columns: Mapping[str, str]) -> str:
    """Every stage with every metric (in percent, tokens as they are), the seeds side by side."""
    runs = [metrics(run) for run in seeds(folder)]
    rows = [f"| | {' | '.join(columns.values())} |", "|---|" + "---|" * len(columns)]
    for stage, label in stages.items():
        cells = [" · ".join(_shown(name, run[stage].get(name)) for run in runs if stage in run) for name in columns]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if "tokens" in name else f"{100 * value:.1f}"


def budgets(folder: Path) -> dict[str, str]:
    """{metric: what it is called} of accuracy with the chain cut at so many tokens."""
    measured = metrics(seeds(folder)[0])["thinking"]
    cut = [name for name in measured if name.startswith("accuracy@") and "/" not in name]
    named = {"0": "none", "full": "full"}
    return {name: named.get(budget := name.partition("@")[2], f"≤ {budget}") for name in cut}


def over(folder: Path, wanted: Mapping[str, str]) -> dict[str, Sequence[Sequence[float]]]:
    """Label → its metric over the iterations, of each seed."""
    runs = [metrics(run) for run in seeds(folder)]
    return {label: [[run[stage][name] for stage in ITERATIONS] for run in runs] for label, name in wanted.items()}


def over_budgets(folder: Path) -> dict[str, Sequence[Sequence[float]]]:
    """Before and after MGRD: accuracy over the budgets, of each seed."""
    runs = [metrics(run) for run in seeds(folder)]
    return {
        label: [[run[stage][name] for name in budgets(folder)] for run in runs] for stage, label in THINKING.items()
    }


def curves(folder: Path, metric: str, arms: Sequence[str]) -> dict[str, Sequence[Sequence[float]]]:
    """Arm → its seeds' values over RL steps."""
    groups: dict[str, list[list[float]]] = {}
    for run in seeds(folder):
        for arm in arms:
            values = [row[metric] for row in read_metrics(run) if row["stage"] == arm]
            groups.setdefault(arm, []).append([v for v in values if not np.isnan(v)])
    return groups


if __name__ == "__main__":
    svg, arms, whole = map(Path, sys.argv[1:])
    F1, F23 = ("format", "no_format"), ("medium_only", "failed_only", "unfiltered")
    heard = {"grounding": "grounding", "claims that are true": "claims_true", "textual surrogates": "surrogate_rate"}
    iterations = [label.partition(" (")[0] for label in ITERATIONS.values()]
    panels = [
        panel("F1: tokens of a response", curves(arms, "length/mean", F1)),
        panel("F1: reward", curves(arms, "reward", F1)),
        panel("F2, F3: accuracy of what is sampled", curves(arms, "part/accuracy", F23)),
        panel("F4: what chains rest on", over(whole, heard), iterations),
        panel("F5: denies hearing", over(whole, {"": "denial_rate"}), iterations),
        panel("F6: accuracy over tokens of thinking", over_budgets(whole), [*budgets(whole).values()]),
    ]
    svg.write_text(drawing(panels, columns=3))
    reasoning = {"accuracy": "accuracy", "think_rate": "has a chain", "reasoning_tokens": "reasoning tokens"}
    reasoning["grounding"] = "grounding"
    print(f"### F1\n\n{table(arms, FORMAT, reasoning)}\n\n### F2 and F3\n\n{table(arms, DATA, reasoning)}")
    grounded = {"grounding": "grounding", "claims_true": "claims that are true", "surrogate_rate": "textual surrogates"}
    grounded |= {"denial_rate": "denies hearing", "accuracy": "accuracy"}
    print(
        f"\n### F4 and F5\n\n{table(whole, ITERATIONS, grounded)}\n\n### F6\n\n{table(whole, THINKING, budgets(whole))}"
    )
