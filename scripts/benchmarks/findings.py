"""Prints tables (markdown) and draws curves (one SVG) of finished runs of the findings' recipes.

python scripts/benchmarks/findings.py docs/findings.svg runs/findings/format_and_data runs/findings/step_audio_r1_mini
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from curves import list_seeds, render_panel, render_svg

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


def read_stages(run: Path) -> dict[str, Mapping[str, float]]:
    """Return {stage: its metrics} of a finished run."""
    summary = read_summary(run)
    assert summary is not None, f"{run}: not finished"
    return {stage.name: stage.metrics for stage in summary.stages}


def render_table(folder: Path, stages: Mapping[str, str], columns: Mapping[str, str]) -> str:
    """Return a table of every stage and metric (in percent; tokens as they are), the seeds side by side."""
    runs = [read_stages(run) for run in list_seeds(folder)]
    rows = [f"| | {' | '.join(columns.values())} |", "|---|" + "---|" * len(columns)]
    for stage, label in stages.items():
        cells = [
            " · ".join(_format_value(name, run[stage].get(name)) for run in runs if stage in run) for name in columns
        ]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _format_value(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if "tokens" in name else f"{100 * value:.1f}"


def list_budgets(folder: Path) -> dict[str, str]:
    """Return {metric: label} of the accuracies with chains cut after a number of tokens."""
    labels = {"accuracy@0": "none", "accuracy@full": "full"}
    metrics = read_stages(list_seeds(folder)[0])["thinking"]
    names = [name for name in metrics if name.startswith("accuracy@") and "/" not in name]
    return {name: labels.get(name, f"≤ {name.partition('@')[2]}") for name in names}


def read_iterations(folder: Path, metrics: Mapping[str, str]) -> dict[str, Sequence[Sequence[float]]]:
    """Return {label: for each seed, its metric over the iterations}."""
    runs = [read_stages(run) for run in list_seeds(folder)]
    return {label: [[run[stage][name] for stage in ITERATIONS] for run in runs] for label, name in metrics.items()}


def read_budgets(folder: Path) -> dict[str, Sequence[Sequence[float]]]:
    """Return {before or after MGRD: for each seed, accuracy over the budgets}."""
    runs = [read_stages(run) for run in list_seeds(folder)]
    return {
        label: [[run[stage][name] for name in list_budgets(folder)] for run in runs]
        for stage, label in THINKING.items()
    }


def read_curves(folder: Path, metric: str, arms: Sequence[str]) -> dict[str, Sequence[Sequence[float]]]:
    """Return {arm: for each seed, the metric over RL steps}."""
    groups: dict[str, list[list[float]]] = {}
    for run in list_seeds(folder):
        for arm in arms:
            values = [row[metric] for row in read_metrics(run) if row["stage"] == arm and metric in row]
            groups.setdefault(arm, []).append([v for v in values if not np.isnan(v)])
    return groups


if __name__ == "__main__":
    svg, arms, mgrd = map(Path, sys.argv[1:])
    F1, F23 = ("format", "no_format"), ("medium_only", "failed_only", "unfiltered")
    chain_metrics = {
        "grounding": "grounding",
        "claims that are true": "claims_true",
        "textual surrogates": "surrogate_rate",
    }
    iterations = [label.partition(" (")[0] for label in ITERATIONS.values()]
    panels = [
        render_panel("F1: tokens of a response", read_curves(arms, "length/mean", F1)),
        render_panel("F1: reward", read_curves(arms, "reward", F1)),
        render_panel("F2, F3: accuracy of what is sampled", read_curves(arms, "part/accuracy", F23)),
        render_panel("F4: what chains rest on", read_iterations(mgrd, chain_metrics), iterations),
        render_panel("F5: denies hearing", read_iterations(mgrd, {"": "denial_rate"}), iterations),
        render_panel("F6: accuracy over tokens of thinking", read_budgets(mgrd), [*list_budgets(mgrd).values()]),
    ]
    svg.write_text(render_svg(panels, columns=3))
    reasoning = {"accuracy": "accuracy", "think_rate": "has a chain", "reasoning_tokens": "reasoning tokens"}
    reasoning |= {"grounding": "grounding"}
    print(
        f"### F1\n\n{render_table(arms, FORMAT, reasoning)}\n\n### F2 and F3\n\n{render_table(arms, DATA, reasoning)}"
    )
    grounding = {
        "grounding": "grounding",
        "claims_true": "claims that are true",
        "surrogate_rate": "textual surrogates",
    }
    grounding |= {"denial_rate": "denies hearing", "accuracy": "accuracy"}
    print(
        f"\n### F4 and F5\n\n{render_table(mgrd, ITERATIONS, grounding)}\n\n### F6\n\n{render_table(mgrd, THINKING, list_budgets(mgrd))}"
    )
