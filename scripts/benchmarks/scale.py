"""Simulates an rlvr stage on 1 to 128 nodes, in sync and running ahead: samples a second, the bottleneck, and what
would lift it.

`--check` compares the simulation with real runs on this machine instead. docs/benchmarks.md explains both.

    scripts/bench scale [RECIPE] [KEY=VALUE …] [--nodes N …] [--lags N …] [--detail N] [--mean TOKENS] [--spread S] [--json FILE]
    scripts/bench scale --check [--loads fixed tail] [--engines 1 2] [--steps N] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

from cluster_times import Job, Lengths, Pass, read_job
from rich.console import Console
from rich.table import Table
from simulation import Result, Setting, simulate
from tables import say, show

NODES = (1, 2, 4, 8, 16, 32, 64, 128)
LAGS = (0, 1, 2, 4, 8)
LEAST_STEPS = 12
GOAL = 0.9
"""Efficiency at 64 nodes."""


@dataclass(frozen=True)
class Placement:
    """Nodes of engines and of trainers, or the same ones for both."""

    nodes: int
    engine_nodes: int | None
    """Nodes with engines; None: all nodes have both, in turns."""

    @property
    def train_nodes(self) -> int:
        """Nodes with trainer ranks."""
        return self.nodes - (self.engine_nodes or 0)

    def __str__(self) -> str:
        return "shared" if self.engine_nodes is None else f"{self.engine_nodes} + {self.train_nodes}"


@dataclass(frozen=True)
class Point:
    """The best placement of so many nodes at one lag."""

    placement: Placement
    max_lag: int
    result: Result
    efficiency: float
    """Samples a second, as a share of what the same GPUs would reach if none ever waited."""
    bottleneck: str


def run(job: Job, placement: Placement, max_lag: int) -> Result:
    """Simulate a job on such nodes."""
    # With shared devices the samples of max_lag + 1 steps are written together and then trained on, so whole rounds of
    # so many steps are measured.
    steps = (max_lag + 1) * ceil(LEAST_STEPS / (max_lag + 1))
    engines = (placement.engine_nodes or placement.nodes) * job.gpus_per_node // job.engine_gpus
    setting = Setting(
        engines=engines,
        engine=job.engine,
        train_s=partial(job.train_s, nodes=placement.train_nodes),
        transfer_s=0.0 if job.hides_transfer else job.transfer_s(placement.train_nodes, placement.engine_nodes is None),
        prompts_per_step=job.prompts_per_step,
        samples_per_prompt=job.samples_per_prompt,
        lengths=partial(job.lengths.group, samples=job.samples_per_prompt),
        prompt_tokens=job.lengths.prompt,
        max_lag=max_lag,
        shared=placement.engine_nodes is None,
    )
    return simulate(setting, steps, warmup=2 * (max_lag + 1))


def best(job: Job, nodes: int, max_lag: int) -> Point | None:
    """Return the placement of so many nodes that is fastest, or None where none holds the states of what learns."""
    points = list[Point]()

    def try_out(engine_nodes: int | None) -> None:
        placement = Placement(nodes, engine_nodes)
        if placement not in [point.placement for point in points] and job.fits(placement.train_nodes):
            result = run(job, placement, max_lag)
            efficiency = result.samples_per_s / job.bound(nodes)
            points.append(Point(placement, max_lag, result, efficiency, find_bottleneck(job, placement, result)))

    try_out(None)
    written, trained = job.gpu_seconds
    balanced = nodes * written / (written + trained)
    counts = sorted({min(max(1, round(balanced * factor)), nodes - 1) for factor in (0.8, 1.2, 1.7, 2.4)} - {0})
    for count in counts:
        try_out(count)
    for _ in range(2):  # between the best of these and its neighbours
        apart = {p.placement.engine_nodes: p for p in points if p.placement.engine_nodes is not None}
        counts = sorted(apart)
        if counts:
            middle = max(counts, key=lambda count: apart[count].efficiency)
            i = counts.index(middle)
            for neighbour in counts[max(0, i - 1) : i + 2]:
                try_out((middle + neighbour) // 2)
    return max(points, key=lambda p: p.efficiency, default=None)


def find_bottleneck(job: Job, placement: Placement, result: Result) -> str:
    """Return what takes most of a step's time beside evenly shared arithmetic."""
    lengths = [n for group in range(job.prompts_per_step) for n in job.lengths.group(group, job.samples_per_prompt)]
    parts = job.train_parts(lengths, placement.train_nodes)
    whole = sum(parts.values())
    # What engines that are always full would need for these samples, as a share of their time.
    engine_gpus = (placement.engine_nodes or placement.nodes) * job.gpus_per_node
    writing = result.samples_per_s * job.gpu_seconds[0] / engine_gpus
    waiting = result.waiting
    if placement.engine_nodes is None:
        waiting -= writing  # the trainer's wait is the engines' turn
    is_full = writing > 0.7 or result.queueing > result.waiting / 2
    shares = {
        "uneven ranks": result.training * parts["uneven"] / whole,
        "gathers": result.training * parts["gathers"] / whole,
        "transfer of weights": result.transferring,
        "engines" if placement.engine_nodes is not None and is_full else "longest samples": waiting,
    }
    most = max(shares, key=lambda name: shares[name])
    return most if shares[most] >= 0.05 else "arithmetic"


def changes(job: Job) -> Iterator[tuple[str, Callable[[Job], Job]]]:
    """Yield settings of the recipe that may lift it, and how each changes a job."""
    if job.sharing < job.gpus_per_node:
        yield f"trainer.sequence_parallel: {job.gpus_per_node}", lambda job: replace(job, sharing=job.gpus_per_node)
    if any(part.name == "critic update" and part.steps > 1 for part in job.passes):
        yield "critic_minibatches: 1", lambda job: replace(job, passes=tuple(_in_one_step(p) for p in job.passes))
    yield "prompts_per_step: × 2", lambda job: replace(job, prompts_per_step=job.prompts_per_step * 2)
    yield "prompts_per_step: × 4", lambda job: replace(job, prompts_per_step=job.prompts_per_step * 4)
    yield "weights sent while the next step trains (not built)", lambda job: replace(job, hides_transfer=True)


def _in_one_step(part: Pass) -> Pass:
    return replace(part, steps=1) if part.name == "critic update" else part


# Tables


def show_points(console: Console, rows: dict[int, list[Point | None]], lags: Sequence[int], job: Job) -> None:
    table = Table(title="samples/s (efficiency), fastest placement", title_justify="left")
    for name in ("nodes", *(f"max_lag {lag}" if lag else "sync" for lag in lags), "placement, held up by"):
        table.add_column(name, justify="left" if "," in name else "right")
    for nodes, points in rows.items():
        if not points[-1]:
            table.add_row(str(nodes), *["–"] * len(lags), f"{job.states(nodes) / 1e9:.0f} GB of states a GPU: no room")
            continue
        cells = [f"{p.result.samples_per_s:.1f} ({p.efficiency:.2f})" if p else "–" for p in points]
        table.add_row(str(nodes), *cells, f"{points[-1].placement}, {points[-1].bottleneck}")
    show(console, table)


def show_detail(console: Console, job: Job, nodes: int, lags: Sequence[int]) -> list[dict[str, object]]:
    """Print what lifts the efficiency on so many nodes: one change at a time, and one after another."""
    table = Table(title=f"{nodes} nodes, what lifts it", title_justify="left")
    for name in ("", "max_lag", "placement", "samples/s", "efficiency", "held up by", "trainer works", "slots in use"):
        table.add_column(name, justify="right" if name in ("samples/s", "efficiency") else "left")
    records: list[dict[str, object]] = []

    def add(name: str, variant: Job) -> None:
        points = [point for lag in lags[-2:] if (point := best(variant, nodes, lag))]
        if points:
            point = max(points, key=lambda p: p.efficiency)
            table.add_row(name, *_describe(point))
            records.append({"change": name, **record(point)})

    add("as it is", job)
    for name, change in changes(job):
        add(name, change(job))
    table.add_section()
    together, prompts = job, job.prompts_per_step
    for i, (name, change) in enumerate(changes(job)):
        # A later change of the batch's size replaces an earlier one.
        together = change(replace(together, prompts_per_step=prompts) if name.startswith("prompts") else together)
        if i:
            add(f"… and {name}", together)
    show(console, table)
    return records


def _describe(point: Point) -> list[str]:
    result = point.result
    speed = [f"{result.samples_per_s:.1f}", f"{point.efficiency:.2f}"]
    return [
        str(point.max_lag),
        str(point.placement),
        *speed,
        point.bottleneck,
        f"{result.training:.0%}",
        f"{result.occupancy:.0%}",
    ]


def record(point: Point) -> dict[str, object]:
    """Return a point as plain values."""
    values = asdict(point)
    values["placement"] = str(point.placement)
    values["result"].pop("ends")
    return values


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="step_audio_r1", help="a recipe with an rlvr stage")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to it: trainer.sequence_parallel=8")
    parser.add_argument("--stage", help="name of its rlvr stage; default: the first")
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES, help="of 8 GPUs of 80 GB")
    parser.add_argument("--lags", type=int, nargs="+", default=LAGS, help="0 is sync")
    parser.add_argument("--detail", type=int, default=64, help="number of nodes for which changes are tried")
    parser.add_argument("--mean", type=float, default=2500, help="tokens of a response, in the mean")
    parser.add_argument("--spread", type=float, default=0.8, help="deviation of the logarithm of their number")
    parser.add_argument("--prompt", type=int, default=200, help="tokens of a prompt")
    parser.add_argument("--check", action="store_true", help="compare with real runs on this machine")
    parser.add_argument("--steps", type=int, default=12, help="with --check: steps of each run")
    parser.add_argument("--rounds", type=int, default=2, help="with --check: turns of each run")
    parser.add_argument("--patience", type=float, default=600, help="with --check: seconds to wait for a quiet machine")
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 2], help="with --check: engines, and ranks")
    parser.add_argument("--loads", nargs="+", default=["fixed", "tail"], help="with --check")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[2] / ".bench/scale", help="with --check")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    console = Console()
    if options.check:
        import scale_check

        raise SystemExit(scale_check.main(options, console))
    figures = plan(options, console)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def plan(options: argparse.Namespace, console: Console) -> dict[str, object]:
    """Print the tables of a recipe's stage and return their figures."""
    from models.shape import read_shape
    from rl.config import ConfigError
    from rl.recipe import load

    try:
        recipe = load(options.recipe, options.overrides, check=False)
        shape = read_shape(recipe.header.model)
        if shape is None:
            raise ValueError(f"{options.recipe}: the model is not on disk; say what it is in model.expect")
        stages = {stage.name: stage.config for stage in recipe.stages}
        limits = [getattr(c, "max_sequence_tokens", 0) for c in stages.values() if hasattr(c, "prompts_per_step")]
        longest = max([*limits, options.prompt + 1]) - options.prompt
        if not 0 < options.mean < longest:
            raise ValueError(f"--mean {options.mean:g}: responses have at most {longest:,} tokens; give less")
        lengths = Lengths(options.mean, options.spread, longest, options.prompt)
        job = read_job(recipe, shape, lengths, options.stage)
    except (ConfigError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    lags = sorted(set(options.lags))
    for line in job.assumptions():
        say(console, f"- {line}")
    rows = {nodes: [best(job, nodes, lag) for lag in lags] for nodes in sorted(set(options.nodes))}
    show_points(console, rows, lags, job)
    detail = show_detail(console, job, options.detail, lags)
    points = [record(point) | {"nodes": nodes} for nodes, row in rows.items() for point in row if point]
    return {"assumptions": job.assumptions(), "points": points, "changes": detail}


if __name__ == "__main__":
    main()
