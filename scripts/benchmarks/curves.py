"""Finished runs of several seeds to a table (markdown, on stdout) and their reward curves (one SVG).

python scripts/benchmarks/curves.py docs/learning.svg runs/quickstart-seeds runs/gsm8k_words-seeds
"""

from __future__ import annotations

import sys
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


def panel(folder: Path, left: int) -> str:
    """One recipe's reward over RL steps, a line for each seed, smoothed over nine steps."""
    curves = [[row["reward"] for row in read_metrics(run) if row["stage"] == "rlvr"] for run in seeds(folder)]
    low, most = min(map(min, curves)), max(map(len, curves))
    parts = [f'<text x="{left + MARGIN}" y="20" font-weight="bold">{folder.name}: reward over RL steps</text>']
    for tick in np.linspace(low, 1, 5):
        y = HEIGHT - MARGIN - (tick - low) / (1 - low) * (HEIGHT - 2 * MARGIN)
        parts.append(f'<path d="M{left + MARGIN} {y:.1f}h{WIDTH - MARGIN - 8}" stroke="#ccd"/>')
        parts.append(f'<text x="{left + MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.2f}</text>')
    for colour, curve in zip(COLOURS, curves, strict=False):
        smooth = [float(np.mean(curve[max(0, i - 4) : i + 5])) for i in range(len(curve))]
        points = " ".join(
            f"{left + MARGIN + i / (most - 1) * (WIDTH - MARGIN - 8):.1f},"
            f"{HEIGHT - MARGIN - (value - low) / (1 - low) * (HEIGHT - 2 * MARGIN):.1f}"
            for i, value in enumerate(smooth)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    parts.append(f'<text x="{left + WIDTH - 8}" y="{HEIGHT - MARGIN + 18}" text-anchor="end">{most} steps</text>')
    return "".join(parts)


def seeds(folder: Path) -> list[Path]:
    return sorted(folder.glob("seed-*"))


if __name__ == "__main__":
    svg, *folders = map(Path, sys.argv[1:])
    panels = "".join(panel(folder, i * WIDTH) for i, folder in enumerate(folders))
    svg.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(folders)} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="#445"><rect width="100%" height="100%" fill="#fff"/>{panels}</svg>\n'
    )
    for folder in folders:
        print(f"\n### `{folder.name}`\n\n{table(folder)}")
