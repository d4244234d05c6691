"""Tables of finished runs of the neighbours' recipes, on stdout, the seeds side by side; and curves of the RLHF miniature.

python scripts/benchmarks/neighbours.py [--svg docs/rlhf.svg] runs/sightsound runs/step_audio_r1_5_mini …
"""

from __future__ import annotations

import argparse
from pathlib import Path

from curves import list_seeds, render_panel, render_svg
from findings import read_curves, render_table

from rl.recipe import load

PERCENT = {"accuracy": "accuracy", "think_rate": "has a chain", "reasoning_tokens": "reasoning tokens"}
GROUNDED = {**PERCENT, "grounding": "grounding", "claims_true": "claims that are true"}
COLUMNS = {
    "sightsound": GROUNDED,
    "audio_reasoner": {**GROUNDED, "part/sections": "in sections"},
    "step_audio_2": {**PERCENT, "grounding": "grounding"},
    "heard_only": {"accuracy": "heard", "accuracy_silenced": "silenced", "audio_reliance": "heard less silenced"},
    "step_audio_r1_5_mini": {
        "accuracy_in/rubric": "right, under a rule",
        "accuracy_in/preference": "right, without one",
        "part/rubric": "rule kept",
        "part/preferred": "style, both kinds",
    },
}
"""Recipe -> the metrics of its evaluations that are told."""
CURVES = {"length/mean": "tokens", "reward": "judge's grade", "entropy": "entropy"}


def render_recipe(folder: Path) -> str:
    """Return the table of a recipe's evaluations; its name is that of the folder."""
    name = folder.name
    stages = load(_path_of(name)).stages
    labels = {stage.name: stage.name.replace("_", " ") for stage in stages if stage.kind == "evaluate"}
    return f"### `{name}`\n\n{render_table(folder, labels, COLUMNS[name])}"


def render_curves(folder: Path) -> str:
    """Return an SVG of every RL stage's curves."""
    arms = [stage.name for stage in load(_path_of(folder.name)).stages if stage.kind == "rlvr"]
    panels = [
        render_panel(f"{arm.replace('_', ' ')}: {title}", {"": read_curves(folder, metric, [arm])[arm]})
        for arm in arms
        for metric, title in CURVES.items()
    ]
    return render_svg(panels, columns=len(CURVES))


def _path_of(name: str) -> str:
    return f"findings/{name}" if name == "heard_only" else name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    for run_folder in arguments.folders:
        assert list_seeds(run_folder), f"{run_folder}: no seed-*; run the recipe with --seeds"
        print(f"\n{render_recipe(run_folder)}")
        if arguments.svg and run_folder.name == "step_audio_r1_5_mini":
            arguments.svg.write_text(render_curves(run_folder))
