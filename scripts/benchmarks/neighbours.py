"""Prints tables of finished runs of the neighbours' recipes, the seeds side by side, and draws curves of those of RLHF.

python scripts/benchmarks/neighbours.py [--svg docs/rlhf.svg] runs/sightsound runs/step_audio_r1_5_mini …
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from curves import list_seeds, render_panel, render_svg
from findings import read_curves

from rl import bundled
from rl.recipe import load
from rl.run.summary import read_summary

PERCENT = {"accuracy": "accuracy", "think_rate": "has a chain", "reasoning_tokens": "reasoning tokens"}
GROUNDED = {**PERCENT, "grounding": "grounding", "claims_true": "claims that are true"}
COLUMNS = {
    "sightsound": GROUNDED,
    "audio_reasoner": {**GROUNDED, "part/sections": "in sections"},
    "step_audio_2": {**PERCENT, "grounding": "grounding"},
    "heard_only": {"accuracy": "heard", "accuracy_silenced": "silenced", "audio_reliance": "heard less silenced"},
    "taught_or_rewarded": {"accuracy": "accuracy", "think_rate": "has a chain"},
    "letters": {
        "accuracy": "accuracy",
        "accuracy_over_orders": "greedy, over the orders",
        "right_in_all_orders": "right in all orders",
        "text_changes": "another text is chosen",
    },
    "drawn_by_pass_rate": {"accuracy": "all words right", "part/words": "1 − word error rate"},
    "claims": {
        "accuracy": "right",
        "grounding": "grounding",
        "claims_true": "claims that are true",
        "right_and_faithful": "right and faithful",
        "right_but_unfaithful": "right but unfaithful",
        "wrong_but_faithful": "wrong but faithful",
        "wrong_and_unfaithful": "wrong and unfaithful",
    },
    "arriving_sums": {
        "accuracy": "accuracy",
        "accuracy_silenced": "silenced",
        "reasoning_tokens": "reasoning tokens",
        "environment/tokens_after": "tokens written behind the last sound",
        "accuracy@wo": "accuracy without a chain",
    },
    "rewarded_by_a_model": {"accuracy": "label right", "part/preferred": "style"},
    "step_audio_r1_5_mini": {
        "accuracy_in/rubric": "right, under a rule",
        "accuracy_in/preference": "right, without one",
        "part/rubric": "rule kept",
        "part/preferred": "style, without a rule",
        "part/style_ruled": "style, under a rule",
    },
}
"""Recipe -> the metrics of its evaluations that are told."""
CURVES = {
    "reward": "what it learns from",
    "part/accuracy": "label right",
    "part/rubric": "rule kept",
    "part/preferred": "style, without a rule",
    "kl/ref": "KL from the start, nats a token",
    "length/mean": "tokens",
}
DRAWN = ("step_audio_r1_5_mini", "rewarded_by_a_model")
"""Recipes whose curves are drawn."""


def render_recipe(folder: Path) -> str:
    """Return the table of a recipe's evaluations, the seeds side by side, and the minutes of each; its name is that of the folder."""
    name = folder.name
    names = [stage.name for stage in load(_path_of(name)).stages if stage.kind == "evaluate"]
    summaries = [summary for run in list_seeds(folder) if (summary := read_summary(run))]
    columns = COLUMNS[name]
    rows = [f"| | {' | '.join(columns.values())} |", "|---|" + "---|" * len(columns)]
    for stage in names:
        runs = [each.metrics for summary in summaries for each in summary.stages if each.name == stage]
        cells = [" · ".join(_show(metric, run) for run in runs) for metric in columns]
        rows.append(f"| {stage.replace('_', ' ')} | {' | '.join(cells)} |")
    minutes = " · ".join(f"{sum(stage.seconds for stage in summary.stages) / 60:.1f}" for summary in summaries)
    return f"### `{name}`\n\n" + "\n".join(rows) + f"\n\n{minutes} minutes"


def _show(name: str, metrics: Mapping[str, float]) -> str:
    """Return a metric in percent (tokens as they are), with its interval where it has one."""
    if name not in metrics:
        return "–"
    if "tokens" in name:
        return f"{metrics[name]:.1f}"
    value = f"{100 * metrics[name]:.1f}"
    if f"{name}/low" in metrics:
        value += f" ({100 * metrics[f'{name}/low']:.0f}–{100 * metrics[f'{name}/high']:.0f})"
    return value


def render_curves(folders: Sequence[Path]) -> str:
    """Return an SVG with a row of panels for every RL stage of the recipes, and in each a line for every seed."""
    arms = [
        (folder, stage.name)
        for folder in folders
        for stage in load(_path_of(folder.name)).stages
        if stage.kind == "rlvr"
    ]
    panels: list[str] = []
    for folder, arm in arms:
        for metric, title in CURVES.items():
            curves = [curve for curve in read_curves(folder, metric, [arm])[arm] if curve]
            # An arm without talks of a kind has no curve of the part that judges them: its place stays empty.
            panels.append(render_panel(f"{arm.replace('_', ' ')}: {title}", {"": curves}) if curves else "")
    return render_svg(panels, columns=len(CURVES))


def _path_of(name: str) -> str:
    return f"findings/{name}" if f"findings/{name}" in bundled.names() else name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    for run_folder in arguments.folders:
        assert list_seeds(run_folder), f"{run_folder}: no seed-*; run the recipe with --seeds"
        print(f"\n{render_recipe(run_folder)}")
    if arguments.svg:
        arguments.svg.write_text(render_curves([folder for folder in arguments.folders if folder.name in DRAWN]))
