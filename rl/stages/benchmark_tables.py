"""The figures of public sets, with intervals: overall and for each table that a set reports, by its own rule, by ours, and by a
judge, each over its own denominator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rl.benchmarks.judged import NOT_OFFICIAL
from rl.benchmarks.sets import BENCHMARKS

if TYPE_CHECKING:
    from rl.benchmarks.benchmark import Benchmark
    from rl.types import Prompt, Scored

FILE = "benchmark.json"
JUDGE = "benchmark_judge"
"""Verifier, and name of the part or second opinion, of a judged figure."""
_JUDGED_PART = re.compile(rf"(watch/)?{JUDGE}")


@dataclass(frozen=True, slots=True)
class Cell:
    """One group of a table: its figure with a 95 % interval over its items."""

    group: str
    value: float | None
    """Mean over the items; None without any."""
    low: float | None
    high: float | None
    items: int
    """Items that enter it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One way of scoring a set: overall, and by the groups of its tables."""

    name: str
    """Kind of scoring: official, strict or judged."""
    note: str
    """Scorer, in words."""
    scale: tuple[float, float]
    """Worst and best value."""
    overall: Cell
    left_out: int
    """Answers that do not enter it: those that the set's own code leaves out of its mean, or that no judge could mark."""
    tables: Mapping[str, Sequence[Cell]] = field(default_factory=dict[str, Sequence[Cell]])
    mean_of: str | None = None
    """The table over whose groups `mean` is taken, each with the same weight."""
    mean: float | None = None


@dataclass(frozen=True, slots=True)
class SetResults:
    """Figures of one public set."""

    set: str
    title: str
    items: int
    """Items that were asked."""
    items_of_set: int
    """Items that the set has; 0 where that is not fixed."""
    samples: int
    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class Results:
    """Content of the file of an evaluation: a record for each public set."""

    results: Sequence[SetResults]


def measure_sets(samples: Sequence[Scored]) -> list[SetResults]:
    """Return the results of every public set among the samples; none for prompts of other sources."""
    by_set: dict[str, list[Scored]] = {}
    for sample in samples:
        name = str(sample.rollout.prompt.fields.get("benchmark", ""))
        if name in BENCHMARKS:
            by_set.setdefault(name, []).append(sample)
    return [_measure_set(name, of_set) for name, of_set in by_set.items()]


def headline_metrics(results: Sequence[SetResults]) -> dict[str, float]:
    """Return `official`, `strict` and `judged` with their bounds, and `official_left_out`; of several sets, with the set's name
    after a slash."""
    metrics: dict[str, float] = {}
    for result in results:
        end = f"/{result.set}" if len(results) > 1 else ""
        for figure in result.figures:
            name, cell = f"{figure.name}{end}", figure.overall
            if cell.value is not None and cell.low is not None and cell.high is not None:
                metrics |= {name: cell.value, f"{name}/low": cell.low, f"{name}/high": cell.high}
            metrics[f"{figure.name}_left_out{end}"] = float(figure.left_out)
    return metrics


def write_results(path: Path, results: Sequence[SetResults]) -> None:
    """Write the results of an evaluation as JSON, whole or not at all."""
    from rl.run.files import replacing

    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(Results(results)), indent=1, allow_nan=False) + "\n")


def _measure_set(name: str, samples: Sequence[Scored]) -> SetResults:
    benchmark = BENCHMARKS[name]
    figures: list[Figure] = []
    if any(_inner(s, "official") is not None for s in samples):
        figures.append(_figure("official", _official_note(benchmark), (0.0, 1.0), benchmark, samples, _official))
    if any(_inner(s, "strict") is not None for s in samples):
        figures.append(_figure("strict", _strict_note(benchmark), (0.0, 1.0), benchmark, samples, _strict))
    if benchmark.judging and any(_judge_score(s) is not None for s in samples):
        low, high = benchmark.judging.scale

        def on_scale(sample: Scored) -> float | None:
            score = _judge_score(sample)
            return None if score is None else low + score * (high - low)

        note = f"a judge, {NOT_OFFICIAL} ({benchmark.judging.model})"
        figures.append(_figure("judged", note, (low, high), benchmark, samples, on_scale))
    ids = {s.rollout.prompt.id for s in samples}
    return SetResults(name, benchmark.title, len(ids), benchmark.items, len(samples), figures)


def _official_note(benchmark: Benchmark) -> str:
    """Return who scores the official figure, in words: nobody may take a substitute, or a part, for the whole of it."""
    owner = "a substitute for the set's own scoring" if benchmark.is_substitute else "the set's own rule"
    # asked before a judge, or of closed items alone, the rule is not the whole official figure
    judging = benchmark.judging
    is_first = judging is not None and benchmark.official == judging.first and not benchmark.is_substitute
    is_part = is_first or (judging is not None and benchmark.official == judging.closed)
    return f"{owner}{' as far as it needs no judge' if is_part else ''} ({benchmark.rule})"


def _strict_note(benchmark: Benchmark) -> str:
    """Return who scores the strict figure, in words."""
    stands_in = benchmark.is_substitute and benchmark.official is None
    note = f"ours ({benchmark.strict}), every answer counted"
    return f"{note}; a substitute for the set's own matcher" if stands_in else note


def _figure(
    name: str,
    note: str,
    scale: tuple[float, float],
    benchmark: Benchmark,
    samples: Sequence[Scored],
    value_of: Callable[[Scored], float | None],
) -> Figure:
    """Return one figure; samples whose value is None do not enter it."""
    values: dict[str, list[float]] = {}
    prompts: dict[str, Prompt] = {}
    left_out = 0
    for sample in samples:
        value, prompt = value_of(sample), sample.rollout.prompt
        prompts[prompt.id] = prompt
        if value is None:
            left_out += 1
        else:
            values.setdefault(prompt.id, []).append(value)
    # By item first: samples of one item are not independent, and the interval is over items.
    means = {id: sum(of_prompt) / len(of_prompt) for id, of_prompt in values.items()}
    tables = {table: _table(table, means, prompts) for table in benchmark.tables}
    figure = Figure(name, note, scale, _cell("all", list(means.values())), left_out, tables)
    if not benchmark.mean_of or not means:
        return figure
    parts = [cell.value for cell in tables[benchmark.mean_of] if cell.value is not None]
    return replace(figure, mean_of=benchmark.mean_of, mean=sum(parts) / len(parts))


def _table(table: str, means: Mapping[str, float], prompts: Mapping[str, Prompt]) -> list[Cell]:
    groups: dict[str, list[float]] = {}
    for id, mean in means.items():
        of_prompt = cast("Mapping[str, str]", prompts[id].fields.get("groups", {}))
        groups.setdefault(of_prompt.get(table, "(none)"), []).append(mean)
    return [_cell(group, groups[group]) for group in sorted(groups)]


def _cell(group: str, values: Sequence[float]) -> Cell:
    from rl.stages.scoring import with_interval

    if not values:
        return Cell(group, None, None, None, 0)
    interval = with_interval("x", values)
    return Cell(group, interval["x"], interval["x/low"], interval["x/high"], len(values))


def _inner(sample: Scored, name: str) -> float | None:
    """Return an inner score of the part that scores a public set's rule, whatever that part is called."""
    return next((value for key, value in sample.verdict.parts.items() if key.rpartition("/")[2] == name), None)


def _official(sample: Scored) -> float | None:
    return _inner(sample, "official") if _inner(sample, "counted") else None


def _strict(sample: Scored) -> float | None:
    return _inner(sample, "strict")


def _judge_score(sample: Scored) -> float | None:
    parts = sample.verdict.parts
    return next((value for name, value in parts.items() if _JUDGED_PART.fullmatch(name)), None)
