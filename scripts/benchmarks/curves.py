"""Finished runs of several seeds to a table (markdown, on stdout) and their reward curves (one SVG).

python scripts/benchmarks/curves.py docs/learning.svg runs/quickstart-seeds runs/gsm8k_words-seeds
"""

from __future__ import annotations

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


def reward_panel(folder: Path, left: int) -> str:
    """One recipe's reward over RL steps, a line for each seed."""
    curves = [[row["reward"] for row in read_metrics(run) if row["stage"] == "rlvr"] for run in seeds(folder)]
    return panel(f"{folder.name}: reward over RL steps", {"": curves}, left)


def panel(title: str, groups: Mapping[str, Sequence[Sequence[float]]], left: int) -> str:
    """Curves over steps, smoothed over nine; of one group each has its colour, of several each group has."""
    every = [curve for curves in groups.values() for curve in curves]
    low, high, most = min(map(min, every)), max(1.0, *map(max, every)), max(map(len, every))
    parts = [f'<text x="{left + MARGIN}" y="20" font-weight="bold">{title}</text>']
    for tick in np.linspace(low, high, 5):
        y = HEIGHT - MARGIN - (tick - low) / (high - low) * (HEIGHT - 2 * MARGIN)
        parts.append(f'<path d="M{left + MARGIN} {y:.1f}h{WIDTH - MARGIN - 8}" stroke="#ccd"/>')
        parts.append(f'<text x="{left + MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for place, (label, curves) in enumerate(groups.items()):
        colours = COLOURS if len(groups) == 1 else [COLOURS[place]] * len(curves)
        parts.append(
            f'<text x="{left + MARGIN + 4 + place * 96}" y="{HEIGHT - MARGIN + 18}" fill="{colours[0]}">{label}</text>'
        )
        for colour, curve in zip(colours, curves, strict=False):
            smooth = [float(np.mean(curve[max(0, i - 4) : i + 5])) for i in range(len(curve))]
            points = " ".join(
                f"{left + MARGIN + i / max(1, most - 1) * (WIDTH - MARGIN - 8):.1f},"
                f"{HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN):.1f}"
                for i, value in enumerate(smooth)
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    parts.append(f'<text x="{left + WIDTH - 8}" y="20" text-anchor="end">{most} steps</text>')
    return "".join(parts)


def drawing(panels: Sequence[str]) -> str:
    """An SVG of panels side by side, each drawn at its place times WIDTH."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="#445"><rect width="100%" height="100%" fill="#fff"/>{"".join(panels)}</svg>\n'
    )


def seeds(folder: Path) -> list[Path]:
    return sorted(folder.glob("seed-*"))


if __name__ == "__main__":
    svg, *folders = map(Path, sys.argv[1:])
    svg.write_text(drawing([reward_panel(folder, i * WIDTH) for i, folder in enumerate(folders)]))
    for folder in folders:
        print(f"\n### `{folder.name}`\n\n{table(folder)}")
