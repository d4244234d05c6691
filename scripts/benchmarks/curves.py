"""Finished runs of several seeds to a table (markdown, on stdout) and their reward curves (one SVG).

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


def table(folder: Path) -> str:
    """Accuracy (mean over samples at temperature 1) and greedy accuracy of each seed, after SFT and after RL."""
    rows = [
        "| seed | after SFT | after RL | greedy after SFT | greedy after RL | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for run in seeds(folder):
        summary = read_summary(run)
        assert summary is not None, f"{run}: not finished"
        by_name = {stage.name: stage.metrics for stage in summary.stages}
        cells = [
            f"{100 * by_name[stage][name]:.1f} ({100 * by_name[stage][f'{name}/low']:.1f}–{100 * by_name[stage][f'{name}/high']:.1f})"
            for name in ("accuracy", "greedy_accuracy")
            for stage in ("warm", "after")
        ]
        minutes = sum(stage.seconds for stage in summary.stages) / 60
        rows.append(f"| {run.name.removeprefix('seed-')} | {' | '.join(cells)} | {minutes:.1f} |")
    return "\n".join(rows)


def reward_panel(folder: Path) -> str:
    """One recipe's reward over RL steps, a line for each seed."""
    curves = [[row["reward"] for row in read_metrics(run) if row["stage"] == "rlvr"] for run in seeds(folder)]
    return panel(f"{folder.name}: reward over RL steps", {"": curves})


def panel(title: str, groups: Mapping[str, Sequence[Sequence[float]]], places: Sequence[str] = ()) -> str:
    """Curves over steps, smoothed over nine, or with a point at each of the named `places`; of one group each curve has
    its colour, of several each group has."""
    every = [curve for curves in groups.values() for curve in curves]
    low, most, highest = min(0.0, *map(min, every)), max(map(len, every)), max(map(max, every))
    high = next((top for top in (0.2, 1.0) if highest <= top), highest)
    across, up = WIDTH - MARGIN - 8, HEIGHT - 2 * MARGIN
    below = HEIGHT - MARGIN

    def at(i: int, value: float) -> tuple[float, float]:
        share = (i + 0.5) / most if places else i / max(1, most - 1)
        return MARGIN + share * across, below - (value - low) / (high - low) * up

    parts = [f'<text x="{MARGIN}" y="20" font-weight="bold">{title}</text>']
    for tick in np.linspace(low, high, 5):
        _, y = at(0, tick)
        parts.append(f'<path d="M{MARGIN} {y:.1f}h{across}" stroke="#ccd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for i, place in enumerate(places):
        x, _ = at(i, low)
        parts.append(f'<text x="{x:.1f}" y="{below + 14}" text-anchor="middle">{place}</text>')
    for i, (label, curves) in enumerate(groups.items()):
        colours = COLOURS if len(groups) == 1 else [COLOURS[i]] * len(curves)
        parts.append(f'<text x="{MARGIN + 4 + i * 124}" y="{below + 34}" fill="{colours[0]}">{label}</text>')
        for colour, curve in zip(colours, curves, strict=False):
            shown = curve if places else [float(np.mean(curve[max(0, j - 4) : j + 5])) for j in range(len(curve))]
            line = [at(j, value) for j, value in enumerate(shown)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in line if places]
    if not places:
        parts.append(f'<text x="{WIDTH - 8}" y="{below + 14}" text-anchor="end">{most} steps</text>')
    return "".join(parts)


def drawing(panels: Sequence[str], columns: int = 4) -> str:
    """An SVG of panels, so many side by side."""
    placed = [
        f'<g transform="translate({i % columns * WIDTH},{i // columns * HEIGHT})">{panel}</g>'
        for i, panel in enumerate(panels)
    ]
    size = f"{WIDTH * min(columns, len(panels))} {HEIGHT * math.ceil(len(panels) / columns)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" '
        f'font-size="11" fill="#445"><rect width="100%" height="100%" fill="#fff"/>{"".join(placed)}</svg>\n'
    )


def seeds(folder: Path) -> list[Path]:
    return sorted(folder.glob("seed-*"))


if __name__ == "__main__":
    svg, *folders = map(Path, sys.argv[1:])
    svg.write_text(drawing([reward_panel(folder) for folder in folders]))
    for folder in folders:
        print(f"\n### `{folder.name}`\n\n{table(folder)}")
