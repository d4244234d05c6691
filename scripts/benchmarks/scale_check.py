"""Compares the simulation of `scripts/bench scale` with real runs on this machine.

The simulation is given measured times of an engine's step and of an update, and the lengths that were really drawn; it
must predict the samples a second of the whole run.

An engine is measured with few and with many samples of few and of many tokens: by itself for runs in sync; and for runs
that run ahead, whose engine works beside a trainer, a driver and Ray, beside a run in sync. The trainer's times are
those of a turn in sync under the same conditions; the turns after it are predicted. Engines and ranks have a core each:
on two cores one engine may run ahead of one rank, while two engines and two ranks work in turns, and so are tried in
sync.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import workload
from peer import HERE, play_engines, start_ours
from rich.console import Console
from rich.table import Table
from simulation import EngineTimes, Setting, simulate
from tables import say, show
from turns import Player, Quiet, Step

from rl.stages.rlvr.config import Config

TOLERANCE = 0.15
GRID = [(samples, tokens) for samples in (1, 8, 32, 64) for tokens in (16, 64)]
"""(samples, tokens of each) that an engine writes to be measured."""
WARMUP = 3
"""Steps before those that count."""


@dataclass(frozen=True)
class Comparison:
    """One real run beside its simulation."""

    load: str
    engines: int
    max_lag: int
    measured: float
    """Samples a second."""
    simulated: float
    others: float
    """Cores that other processes kept busy meanwhile."""

    @property
    def ratio(self) -> float:
        """Simulated over measured."""
        return self.simulated / self.measured

    @property
    def is_close(self) -> bool:
        """True if the simulation is right within the tolerance."""
        return abs(self.ratio - 1) <= TOLERANCE

    @property
    def line(self) -> str:
        """The comparison in a line."""
        run = f"{self.load}, engines and ranks {self.engines}, max_lag {self.max_lag}"
        return f"{run}: {self.simulated:.1f} samples/s simulated, {self.measured:.1f} measured: {self.ratio:.2f}"


@dataclass(frozen=True)
class Phases:
    """Means of a sync step beside its generation."""

    train_s: float
    """Logprobs, update and what is recorded, for each token of the step."""
    verify_s: float
    transfer_s: float

    @classmethod
    def of(cls, steps: Sequence[Step]) -> Phases:
        """Return the means of the steps."""

        def mean(*names: str) -> float:
            return sum(step[name] for step in steps for name in names) / len(steps)

        rest = mean("wall") - mean("generate", "verify", "sync", "proof")
        return cls(rest / mean("tokens"), mean("verify"), mean("sync", "proof"))


@dataclass(frozen=True)
class Times:
    """Measured times that the simulation is fed with."""

    engine: EngineTimes
    phases: Phases


def fit_engine(points: Sequence[tuple[int, int, float]], prompt_tokens: int) -> EngineTimes:
    """Return the times of an engine that wrote `samples` of `tokens` in so many seconds: seconds ≈ c + r × samples + tokens ×
    (step_s + sample_s × samples), of which r is the reading of a prompt."""
    rows = [[1.0, samples, tokens, samples * tokens] for samples, tokens, _ in points]
    seconds = np.array([s for _, _, s in points])
    # Relative errors: a short call counts as much as a long one.
    weights = 1 / seconds
    solution, *_ = np.linalg.lstsq(np.array(rows) * weights[:, None], seconds * weights, rcond=None)
    _, read, step, sample = (max(0.0, float(value)) for value in solution)
    return EngineTimes(step_s=max(step, 1e-6), sample_s=sample, read_s=read / prompt_tokens, slots=256)


def predict(
    times: Times, engines: int, lengths: Sequence[int], max_lag: int, warmup: int, prompt_tokens: int = 1
) -> float:
    """Return the samples a second of a run with these lengths, in draw order, after so many steps."""
    phases = times.phases
    samples = workload.PROMPTS_PER_STEP * workload.SAMPLES
    steps = len(lengths) // samples

    def of_group(group: int) -> list[int]:
        first = group * workload.SAMPLES % len(lengths)
        return list(lengths[first : first + workload.SAMPLES])

    setting = Setting(
        engines=engines,
        # An engine at work stands still while new weights are on their way.
        engine=replace(times.engine, swap_s=phases.transfer_s if max_lag else 0.0),
        train_s=lambda step_lengths: phases.train_s * sum(step_lengths),
        transfer_s=phases.transfer_s,
        prompts_per_step=workload.PROMPTS_PER_STEP,
        samples_per_prompt=workload.SAMPLES,
        lengths=of_group,
        prompt_tokens=prompt_tokens,
        max_lag=max_lag,
        verify_s=phases.verify_s,
    )
    return simulate(setting, steps - warmup, warmup).samples_per_s


def measure_points(
    players: Sequence[Player], load: str, folder: Path, grid: Sequence[tuple[int, int]], quiet: Quiet | None
) -> Iterator[tuple[int, int, float]]:
    """Yield (samples of an engine, tokens of each, seconds) for each pair of the grid, without a referee if there is none."""
    for samples, tokens in grid:
        step = {"lengths": [min(tokens, workload.LOADS[load].max_new)] * samples * len(players)}
        play = partial(play_engines, players, [step], folder)
        (result,) = quiet.turn(play) if quiet else play()
        yield samples, tokens, result["wall"]


@contextmanager
def start_engines(load: str, folder: Path, engines: int) -> Generator[list[Player]]:
    """Start engines without a trainer, warmed up."""
    command = [sys.executable, HERE / "engine_alone.py", load, folder]
    players = [Player("vllm", [*command, str(i), str(engines)], folder / f"vllm-{i}.log") for i in range(engines)]
    try:
        for player in players:
            player.ready()
        play_engines(players, [{"lengths": [8] * engines}] * 2, folder)
        yield players
    finally:
        for player in players:
            player.close()


def measure_alone(load: str, folder: Path, engines: int, options: argparse.Namespace, quiet: Quiet) -> Times:
    """Measure engines side by side without a trainer, and the phases of a run in sync."""
    with start_engines(load, folder, engines) as players:
        points = list(measure_points(players, load, folder, GRID * 2, quiet))
    with start_run(load, folder, engines, 0).ready() as player:
        player.turn(WARMUP)
        phases = Phases.of(quiet.turn(lambda: player.turn(options.steps)))
    return Times(fit_engine(points, workload.prompt_tokens(folder / "model")), phases)


def measure_beside(load: str, folder: Path, options: argparse.Namespace) -> Times:
    """Measure an engine and a run in sync beside each other, as what runs ahead has its engine beside its trainer: each is
    slower for what the other takes from it, and for the driver and Ray, which have no core of their own."""
    points: list[tuple[int, int, float]] = []
    with start_engines(load, folder, 1) as players, start_run(load, folder, 1, 0).ready() as player:
        player.turn(WARMUP)
        with ThreadPoolExecutor(1) as threads:
            turn = threads.submit(player.turn, options.steps)
            while not turn.done():
                points += measure_points(players, load, folder, GRID, None)
        return Times(fit_engine(points, workload.prompt_tokens(folder / "model")), Phases.of(turn.result()))


def start_run(load: str, folder: Path, engines: int, max_lag: int) -> Player:
    """Start a run of so many engines and ranks."""
    ahead = [f"rlvr.max_lag={max_lag}"] if max_lag else []
    return start_ours(load, folder, f"engines.count={engines}", f"trainer.ranks={engines}", *ahead)


def measure_run(
    load: str, folder: Path, engines: int, lags: Sequence[int], options: argparse.Namespace, quiet: Quiet
) -> Iterator[Comparison]:
    """Yield the comparisons of one placement's runs, in sync and ahead."""
    times = measure_alone(load, folder, engines, options, quiet)
    beside = measure_beside(load, folder, options) if any(lags) else times
    for lag in lags:
        with start_run(load, folder, engines, lag).ready() as player:
            early = player.turn(WARMUP + lag)
            turns = [quiet.turn(lambda: player.turn(options.steps)) for _ in range(options.rounds)]
        steps = [step for turn in turns for step in turn]
        drawn = [n for step in [*early, *steps] for n in step["lengths"]]
        prompt = workload.prompt_tokens(folder / "model")
        simulated = predict(beside if lag else times, engines, drawn, lag, len(early), prompt)
        measured = sum(s["samples"] for s in steps) / sum(s["wall"] for s in steps)
        others = statistics.mean(s["others"] for s in steps)
        yield Comparison(load, engines, lag, measured, simulated, others)


def main(options: argparse.Namespace, console: Console) -> int:
    """Print the comparison of all runs; return 1 if one is not close."""
    quiet = Quiet(0.1, options.patience)
    runs_ahead = "max_lag" in {field.name for field in fields(Config)}
    comparisons: list[Comparison] = []
    for load in options.loads:
        for engines in options.engines:
            lags = [lag for lag in options.lags if lag == 0 or (runs_ahead and engines == 1 and lag <= 2)]
            folder = options.folder / f"{load}-{engines}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            workload.write_model(folder / "model", workload.LOADS[load])
            for comparison in measure_run(load, folder, engines, lags, options, quiet):
                comparisons.append(comparison)
                say(console, comparison.line)  # one at a time: a check that is stopped has shown what it measured
    show(console, render(comparisons))
    if not runs_ahead:
        say(console, "rlvr has no max_lag here: runs in sync alone were compared")
    if options.json:
        figures: list[dict[str, Any]] = [{**asdict(c), "ratio": c.ratio, "is_close": c.is_close} for c in comparisons]
        options.json.write_text(json.dumps(figures, indent=1))
    return 0 if all(c.is_close for c in comparisons) else 1


def render(comparisons: Sequence[Comparison]) -> Table:
    """Return the table of all comparisons."""
    table = Table(title="simulated beside measured, samples/s", title_justify="left")
    for name in ("load", "engines and ranks", "max_lag", "measured", "simulated", "ratio", "within 15 %", "others"):
        table.add_column(name, justify="left" if name == "load" else "right")
    for c in comparisons:
        numbers = [f"{c.measured:.1f}", f"{c.simulated:.1f}", f"{c.ratio:.2f}"]
        table.add_row(
            c.load, str(c.engines), str(c.max_lag), *numbers, "yes" if c.is_close else "no", f"{c.others:.2f}"
        )
    return table
