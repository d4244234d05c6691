"""Runs that write ahead beside runs in sync, in turns: samples a second, their age, and whether the lengths that were learned
from are those that were drawn. `scripts/bench lag` runs it.

    python scripts/benchmarks/lag.py [--json FILE] [--rounds N] [--steps N] [--loads tail …]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import workload
from peer import ROOT, Side, start_ours
from rich.console import Console
from rich.table import Table
from tables import show
from turns import Player, Quiet, Step

PLACEMENTS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "shared cores": (("engines.count=2", "trainer.ranks=2"), (0, 1, 2)),
    "a core each": (("engines.count=1", "trainer.ranks=1"), (0, 1, 2)),
}
"""{name: (overrides, lags)}: engines and ranks on all cores, and one engine and one rank, which have a core each where both
work at once."""
GOALS = {"shared cores": 1.3, "a core each": 1.6}
"""Samples/s on the load `tail` at the best lag, as a multiple of sync in the same placement."""
WARM_UP = 4
"""Steps before the first turn: by then the pipeline of the largest lag is full."""


def measure(
    load: str, placement: str, folder: Path, rounds: int, steps: int, quiet: Quiet
) -> dict[int, list[list[Step]]]:
    """Return {lag: steps of each turn}."""
    overrides, lags = PLACEMENTS[placement]
    shutil.rmtree(folder, ignore_errors=True)
    players: dict[int, Player] = {}
    for lag in lags:
        home = folder / f"lag-{lag}"
        home.mkdir(parents=True)
        workload.write_model(home / "model", workload.LOADS[load])
        players[lag] = start_ours(load, home, *overrides, f"rlvr.max_lag={lag}").ready()
    turns: dict[int, list[list[Step]]] = defaultdict(list)
    try:
        for player in players.values():
            player.turn(WARM_UP)
        for _ in range(rounds):
            for lag, player in players.items():
                turns[lag].append(quiet.turn(lambda player=player: player.turn(steps)))
    finally:
        for player in players.values():
            player.close()
    return turns


def read_course(folder: Path, lag: int) -> dict[str, float]:
    """Return the age of the samples and their mean length, from the run's metrics."""
    rows = [json.loads(line) for line in (folder / f"lag-{lag}" / "metrics.jsonl").read_text().splitlines()]
    late = rows[WARM_UP:]
    return {
        "staleness": statistics.mean(row["staleness"] for row in late),
        "spans": statistics.mean(row["spans"] for row in late),
        "sync_ms": 1000 * statistics.median(row["time/sync"] + row["time/proof"] for row in late),
        "length": statistics.mean(row["length/mean"] for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench lag", description="Runs ahead beside runs in sync.")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="steps of a turn")
    parser.add_argument("--others", type=float, default=0.1, help="cores that other work may keep busy in a turn")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for such turns, in all")
    parser.add_argument("--loads", nargs="+", choices=list(workload.LOADS), default=["tail"])
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench/lag")
    options = parser.parse_args()
    quiet, figures = Quiet(options.others, options.patience), list[dict[str, Any]]()
    for load in options.loads:
        for placement in PLACEMENTS:
            folder = options.folder / f"{load}-{placement.replace(' ', '-')}"
            turns = measure(load, placement, folder, options.rounds, options.steps, quiet)
            sync = [Side.of(turn).samples_per_second for turn in turns[0]]
            drawn = read_course(folder, 0)["length"]
            for lag, of_lag in turns.items():
                sides = [Side.of(turn) for turn in of_lag]
                ratios = [side.samples_per_second / base for side, base in zip(sides, sync, strict=True)]
                course = read_course(folder, lag)
                figures.append({
                    "load": load, "placement": placement, "lag": lag,
                    "samples_per_second": statistics.median(side.samples_per_second for side in sides),
                    "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
                    "others": max(side.others for side in sides),
                    **course, "trained_over_drawn": course["length"] / drawn,
                })  # fmt: skip
    table = Table(title="samples a second, beside sync of the same placement", title_justify="left")
    for name in (
        "load",
        "placement",
        "lag",
        "samples/s",
        "÷ sync",
        "over rounds",
        "age",
        "spans",
        "sync",
        "length",
        "others",
    ):
        table.add_column(name, justify="left" if name in ("load", "placement") else "right")
    for row in figures:
        table.add_row(
            row["load"],
            row["placement"],
            str(row["lag"]),
            f"{row['samples_per_second']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['lowest']:.2f}–{row['highest']:.2f}",
            f"{row['staleness']:.2f}",
            f"{row['spans']:.2f}",
            f"{row['sync_ms']:.0f} ms",
            f"{row['length']:.1f}",
            f"{row['others']:.2f}",
        )
    show(Console(), table)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
