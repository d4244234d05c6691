"""Prints tables (markdown) and draws reward curves (one SVG) of finished runs with several seeds.

python scripts/benchmarks/curves.py docs/learning.svg runs/quickstart-seeds runs/gsm8k_words-seeds
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rl.run.summary import read_summary
from rl.run.tracker import read_metrics

WIDTH, HEIGHT, MARGIN = 420, 240, 44
COLOURS = ("#2b5fc4", "#c8580f", "#1d8a6b", "#8a4fb0", "#8a7a1d")


def render_table(folder: Path) -> str:
    """Return accuracy (mean over samples at temperature 1) and greedy accuracy of each seed, after SFT and after RL."""
    rows = [
        "| seed | after SFT | after RL | greedy after SFT | greedy after RL | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for run in list_seeds(folder):
        summary = read_summary(run)
        assert summary is not None, f"{run}: not finished"
        by_name = {stage.name: stage.metrics for stage in summary.stages}
        cells = [
            _format_interval(by_name[stage], metric)
            for metric in ("accuracy", "greedy_accuracy")
            for stage in ("warm", "after")
        ]
        minutes = sum(stage.seconds for stage in summary.stages) / 60
        rows.append(f"| {run.name.removeprefix('seed-')} | {' | '.join(cells)} | {minutes:.1f} |")
    return "\n".join(rows)


def _format_interval(metrics: Mapping[str, float], name: str) -> str:
    value, low, high = (100 * metrics[key] for key in (name, f"{name}/low", f"{name}/high"))
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def render_reward_panel(folder: Path) -> str:
    """Return a panel of a recipe's reward over RL steps, with a line for each seed."""
    curves = [[row["reward"] for row in read_metrics(run) if row["stage"] == "rlvr"] for run in list_seeds(folder)]
    return render_panel(f"{folder.name}: reward over RL steps", {"": curves})


def render_panel(title: str, groups: Mapping[str, Sequence[Sequence[float]]], places: Sequence[str] = ()) -> str:
    """Return curves over steps, smoothed over nine, or with a point at each of the named `places`.

    With one group each curve has its own colour, with several each group has.
    """
    all_curves = [curve for curves in groups.values() for curve in curves]
    low, steps, largest = min(0.0, *map(min, all_curves)), max(map(len, all_curves)), max(map(max, all_curves))
    high = next((top for top in (0.2, 1.0) if largest <= top), largest)
    plot_width, plot_height = WIDTH - MARGIN - 8, HEIGHT - 2 * MARGIN
    bottom = HEIGHT - MARGIN

    def at(i: int, value: float) -> tuple[float, float]:
        share = (i + 0.5) / steps if places else i / max(1, steps - 1)
        return MARGIN + share * plot_width, bottom - (value - low) / (high - low) * plot_height

    parts = [f'<text x="{MARGIN}" y="20" font-weight="bold">{title}</text>']
    for tick in np.linspace(low, high, 5):
        _, y = at(0, tick)
        parts.append(f'<path d="M{MARGIN} {y:.1f}h{plot_width}" stroke="#ccd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for i, place in enumerate(places):
        x, _ = at(i, low)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{place}</text>')
    for i, (label, curves) in enumerate(groups.items()):
        colours = COLOURS if len(groups) == 1 else [COLOURS[i]] * len(curves)
        parts.append(f'<text x="{MARGIN + 4 + i * 124}" y="{bottom + 34}" fill="{colours[0]}">{label}</text>')
        for colour, curve in zip(colours, curves, strict=False):
            values = curve
            if not places:
                values = [float(np.mean(curve[max(0, j - 4) : j + 5])) for j in range(len(curve))]
            line = [at(j, value) for j, value in enumerate(values)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in line if places]
    if not places:
        parts.append(f'<text x="{WIDTH - 8}" y="{bottom + 14}" text-anchor="end">{steps} steps</text>')
    return "".join(parts)


def render_svg(panels: Sequence[str], columns: int = 4) -> str:
    """Return an SVG of the panels, `columns` of them side by side."""
    cells = [
        f'<g transform="translate({i % columns * WIDTH},{i // columns * HEIGHT})">{panel}</g>'
        for i, panel in enumerate(panels)
    ]
    size = f"{WIDTH * min(columns, len(panels))} {HEIGHT * math.ceil(len(panels) / columns)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" '
        f'font-size="11" fill="#445"><rect width="100%" height="100%" fill="#fff"/>{"".join(cells)}</svg>\n'
    )


def list_seeds(folder: Path) -> list[Path]:
    """Return the run directories of a recipe, one for each seed."""
    return sorted(folder.glob("seed-*"))


if __name__ == "__main__":
    svg, *folders = map(Path, sys.argv[1:])
    svg.write_text(render_svg([render_reward_panel(folder) for folder in folders]))
    for folder in folders:
        print(f"\n### `{folder.name}`\n\n{render_table(folder)}")
