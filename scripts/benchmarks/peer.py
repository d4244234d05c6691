"""Compares Groundtone with TRL on the same model, prompts, lengths, algorithm and machine, in turns.

It also compares our rollouts with vLLM alone, and measures verification and weight sync. `scripts/bench` runs it;
docs/benchmarks.md explains what is measured and why.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import workload
from rich.console import Console
from rich.table import Table
from tables import say, show
from turns import Player, Quiet, Step, play_together

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PHASES = ("generate", "verify", "logprobs", "update", "sync", "proof")
ENGINES = 2
PEER_SETTINGS = ((2, 128), (2, 32), (1, 128))
"""(threads, micro-batch) tried for TRL; the fastest takes part."""


PEER_GOALS = {"fixed": (1.1, 1.5), "tail": (2.5, 4.0)}
"""Samples/s as a multiple of TRL's: goal and aim."""


@dataclass(frozen=True)
class Side:
    """Figures of one contestant, over all its turns."""

    samples_per_second: float
    tokens_per_second: float
    """Sampled tokens per second of the whole step."""
    seconds: dict[str, float]
    """Means of a step: wall, its phases, the rest (other), and processor time (cpu)."""
    mean_length: float
    longest: float
    """Mean over steps of the longest sample."""
    others: float
    """Cores that other processes kept busy meanwhile; above about 0.1 the figures are not reliable."""

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Side:
        """Return the means and rates of the steps."""

        def total(name: str) -> float:
            return sum(step.get(name, 0.0) for step in steps)

        seconds = {name: total(name) / len(steps) for name in ("wall", *PHASES, "cpu")}
        seconds["other"] = seconds["wall"] - sum(seconds[phase] for phase in PHASES)
        return cls(
            total("samples") / total("wall"),
            total("tokens") / total("wall"),
            seconds,
            total("tokens") / total("samples"),
            total("longest") / len(steps),
            total("others") / len(steps),
        )


@dataclass(frozen=True)
class Goal:
    """A figure and the bound that it should keep."""

    name: str
    measured: float
    goal: float
    least: bool = True
    """True if the goal is a lower bound."""
    aim: float | None = None
    spread: tuple[float, float] | None = None
    """Smallest and largest of all rounds."""

    @property
    def is_met(self) -> bool:
        """True if the figure is within the bound."""
        return self.measured >= self.goal if self.least else self.measured <= self.goal


def start_ours(load: str, folder: Path, *overrides: str) -> Player:
    command = [sys.executable, HERE / "ours.py", load, folder, *overrides]
    return Player("groundtone", command, folder / "groundtone.log")


def start_peer(load: str, folder: Path, threads: int, micro_batch: int) -> Player:
    command = [ROOT / ".bench/trl/bin/python", HERE / "theirs.py", load, folder / "model", threads, micro_batch]
    return Player("trl", command, folder / f"trl-{threads}-{micro_batch}.log")


def start_best_peer(load: str, folder: Path, quiet: Quiet, console: Console) -> tuple[Player, tuple[int, int]]:
    """Return TRL with the settings that are fastest on this machine, and these."""
    players = {settings: start_peer(load, folder, *settings) for settings in PEER_SETTINGS}
    walls: dict[tuple[int, int], float] = {}
    for player in players.values():
        player.ready().turn(1)
    for settings, player in players.items():
        walls[settings] = min(step["wall"] for step in quiet.turn(lambda player=player: player.turn(3)))
    best = min(walls, key=lambda settings: walls[settings])
    for settings, player in players.items():
        if settings != best:
            player.close()
    times = ", ".join(f"{t} threads × {m}: {walls[t, m]:.2f} s" for t, m in walls)
    say(console, f"TRL, seconds a step: {times}")
    return players[best], best


def run_contest(load: str, folder: Path, rounds: int, steps: int, quiet: Quiet, console: Console) -> dict[str, Any]:
    """Return the figures of all three contestants on one load, measured in turns."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    workload.write_model(folder / "model", workload.LOADS[load])
    theirs, settings = start_best_peer(load, folder, quiet, console)
    mine = start_ours(load, folder, f"engines.count={ENGINES}").ready()
    alone = [
        Player("vllm", [sys.executable, HERE / "engine_alone.py", load, folder, i, ENGINES], folder / f"vllm-{i}.log")
        for i in range(ENGINES)
    ]
    for player in alone:
        player.ready()
    turns_of: dict[str, list[list[Step]]] = defaultdict(list)
    try:
        theirs.turn(3)
        play_engines(alone, mine.turn(3)[:2], folder)
        for _ in range(rounds):
            turns_of["groundtone"].append(quiet.turn(lambda: mine.turn(steps)))
            turns_of["trl"].append(quiet.turn(lambda: theirs.turn(steps)))
            same_steps = turns_of["groundtone"][-1]
            turns_of["vllm"].append(quiet.turn(partial(play_engines, alone, same_steps, folder)))
    finally:
        for player in (mine, theirs, *alone):
            player.close()
    sides = {name: Side.of([step for turn in turns for step in turn]) for name, turns in turns_of.items()}
    ratios = [
        Side.of(a).samples_per_second / Side.of(b).samples_per_second
        for a, b in zip(turns_of["groundtone"], turns_of["trl"], strict=True)
    ]
    engine = [
        _generation_rate(a) / _generation_rate(b) for a, b in zip(turns_of["groundtone"], turns_of["vllm"], strict=True)
    ]
    return {"sides": sides, "ratios": ratios, "rollout_ratios": engine, "peer": settings}


def play_engines(engines: Sequence[Player], same_steps: Sequence[Step], folder: Path) -> list[Step]:
    """Return steps of engines side by side, of the lengths of `same_steps`; a step ends when the last engine has finished it."""
    all_steps: list[Step] = []
    for same_step in same_steps:
        workload.write_lengths(folder, same_step["lengths"])
        turns = [turn[0] for turn in play_together(engines, 1)]
        wall = max(step["wall"] for step in turns)
        sums = {name: sum(step[name] for step in turns) for name in ("tokens", "samples", "cpu")}
        others = max(0.0, turns[0]["others"] - sum(step["cpu"] for step in turns[1:]) / wall)
        all_steps.append({"wall": wall, "generate": wall, "others": others, **sums})
    return [{**step, "others": sum(s["others"] for s in all_steps) / len(all_steps)} for step in all_steps]


def _generation_rate(steps: Sequence[Step]) -> float:
    """Return tokens per second of generation."""
    return sum(step["tokens"] for step in steps) / sum(step["generate"] for step in steps)


def measure_math(folder: Path, steps: int, quiet: Quiet) -> Side:
    """Return our figures with the `math` verifier."""
    with start_ours("fixed", folder, "reward.parts=[{verifier: math}]").ready() as player:
        player.turn(3)
        return Side.of(quiet.turn(lambda: player.turn(steps)))


def check_goals(contests: dict[str, dict[str, Any]], math: Side) -> list[Goal]:
    goals: list[Goal] = []
    for load, result in contests.items():
        (goal, aim), ratios = PEER_GOALS[load], result["ratios"]
        name = f"{load}: samples/s, Groundtone ÷ TRL"
        goals.append(Goal(name, statistics.median(ratios), goal, True, aim, (min(ratios), max(ratios))))
        ratios = result["rollout_ratios"]
        name = f"{load}: rollout tokens/s ÷ vLLM alone"
        goals.append(Goal(name, statistics.median(ratios), 0.95, True, None, (min(ratios), max(ratios))))
        seconds = result["sides"]["groundtone"].seconds
        for phase, title, share in (
            ("verify", "verifying (`text`)", 0.02),
            ("sync", "weight sync", 0.05),
            ("proof", "proof of arrival", 0.01),
        ):
            name = f"{load}: {title}, share of a step"
            goals.append(Goal(name, seconds[phase] / seconds["wall"], share, False))
    share = math.seconds["verify"] / math.seconds["wall"]
    return [*goals, Goal("fixed: verifying (`math`), share of a step", share, 0.02, False)]


def show_contest(console: Console, load: str, result: dict[str, Any]) -> None:
    names = ("samples/s", "tokens/s", "step", *PHASES, "other", "processor", "others")
    table = Table(title=f"{load}: seconds a step", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for name, side in result["sides"].items():
        cells = [f"{side.samples_per_second:.1f}", f"{side.tokens_per_second:,.0f}"]
        cells += [f"{side.seconds[key]:.3f}" for key in ("wall", *PHASES, "other", "cpu")]
        table.add_row(name, *cells, f"{side.others:.2f}")
    show(console, table)
    lengths = (
        f"{result['sides'][n].mean_length:.1f} and {result['sides'][n].longest:.0f}" for n in ("groundtone", "trl")
    )
    say(
        console,
        f"mean and longest sample of a step: {'; '.join(lengths)} (trl); others: cores busy with other work\n",
    )


def show_goals(console: Console, goals: Sequence[Goal]) -> None:
    table = Table(title="goals", title_justify="left")
    for name in ("", "measured", "over rounds", "goal", "aim", ""):
        table.add_column(name, justify="left" if not name else "right")
    for goal in goals:
        spread = "–".join(f"{value:.2f}" for value in goal.spread) if goal.spread else ""
        bound = f"{'≥' if goal.least else '≤'} {goal.goal:g}"
        aim = f"{goal.aim:g}" if goal.aim else ""
        number = f"{goal.measured:.2f}" if goal.least else f"{goal.measured:.1%}"
        table.add_row(goal.name, number, spread, bound, aim, "met" if goal.is_met else "not met")
    show(console, table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Groundtone beside TRL and vLLM alone.")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant on each load")
    parser.add_argument("--steps", type=int, default=5, help="steps of a turn")
    parser.add_argument("--others", type=float, default=0.1, help="cores that other work may keep busy in a turn")
    parser.add_argument("--patience", type=float, default=900, help="seconds to wait for such turns, in all")
    parser.add_argument("--loads", nargs="+", choices=list(workload.LOADS), default=list(workload.LOADS))
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench/runs")
    options = parser.parse_args()
    console = Console()
    quiet, contests = Quiet(options.others, options.patience), dict[str, dict[str, Any]]()
    for load in options.loads:
        contests[load] = run_contest(load, options.folder / load, options.rounds, options.steps, quiet, console)
        show_contest(console, load, contests[load])
    math = measure_math(options.folder / "fixed", options.steps, quiet)
    goals = check_goals(contests, math)
    show_goals(console, goals)
    if options.json is not None:
        results = {
            load: {**result, "sides": {name: asdict(side) for name, side in result["sides"].items()}}
            for load, result in contests.items()
        }
        figures = {"loads": results, "math": asdict(math), "goals": [{**asdict(g), "met": g.is_met} for g in goals]}
        options.json.write_text(json.dumps({"cpus": os.cpu_count(), **figures}, indent=1))


if __name__ == "__main__":
    main()
