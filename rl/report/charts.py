"""Charts of a training stage for the report, with their points: plain data that `page.js` draws as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from rl.run.tracker import MetricRow

MAX_POINTS = 400
"""Most points of a curve; longer runs are averaged over neighbouring steps, and the page says so."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and the metrics that it draws together."""

    title: str
    metrics: tuple[str, ...]
    """Names of metrics; a trailing `*` stands for every metric that begins so."""
    subtitle: str = ""
    scale: str = "linear"
    smooth: bool = True
    """True if a smoothed line helps to read it."""


class Series(TypedDict):
    """A curve of one metric: None where a point has no value; `low` and `high` are None without bounds."""

    name: str
    values: list[float | None]
    low: list[float | None] | None
    high: list[float | None] | None


class ChartData(TypedDict):
    """A chart as `page.js` reads it."""

    title: str
    subtitle: str
    scale: str
    smooth: bool
    series: list[Series]


class Phase(TypedDict):
    """The seconds of a step that went to one phase."""

    name: str
    values: list[float | None]


class StageCharts(TypedDict):
    """All charts of a stage; `steps` holds the last step of each point."""

    steps: list[int]
    steps_per_point: int
    charts: list[ChartData]
    phases: list[Phase]


# In reading order: does it learn, what does it write, is the update sane, what goes wrong, what does it cost.
CHARTS = (
    Chart("Reward", ("reward",), "mean score of the step's samples"),
    Chart("Parts of the reward", ("part/*",), "before weighting"),
    Chart("Second opinions", ("watch/*", "watch_alarm"), "parroted, listed, empty: of the answers that score right"),
    Chart("Held-out accuracy", ("eval/accuracy", "eval/greedy_accuracy"), "measured during training"),
    Chart("Loss", ("loss",)),
    Chart("Response length", ("length/mean", "length/max"), "tokens"),
    Chart("Replies of the environment", ("environment/replies", "environment/sounds"), "a rollout; and sounds in them"),
    Chart(
        "Heard again",
        ("environment/heard_again", "environment/iou", "environment/overlap"),
        "share of the samples; with the stretch in question, and with each other",
    ),
    Chart("Replies by reason", ("environment/note/*", "environment/ended/*"), "a rollout; share that ended so"),
    Chart(
        "Environment errors",
        ("environment/errors", "environment/error/*"),
        "samples left out of the gradient",
        smooth=False,
    ),
    Chart("Truncated", ("truncation_rate",), "share cut off at the length limit"),
    Chart("Closed chains", ("closed_chains",), "share whose chain of thought ended, so that an answer may follow"),
    Chart("Entropy", ("entropy",), "nats per token; at 0 exploration has ended"),
    Chart("KL", ("kl/ref", "kl/teacher", "approx_kl"), "to reference and teacher; from before to after an update"),
    Chart(
        "Engine against trainer",
        ("logprob_gap/mean", "logprob_gap/max", "probe_gap/*"),
        "difference of their logprobs, on samples and on the probe of new weights; should be tiny",
        "log",
    ),
    Chart("Clip fraction", ("clip_fraction",), "share of tokens whose ratio left the clip range"),
    Chart(
        "Importance weights",
        ("importance", "importance_ess", "importance_clipped*"),
        "trainer ÷ engine: mean, effective sample size, shares of tokens and sequences clipped",
    ),
    Chart("Left out of the loss", ("importance_masked*", "truncated_masked*"), "share of tokens, and of sequences"),
    Chart("Explained variance", ("explained_variance",), "of the returns, by the critic; 1 is best"),
    Chart("Policy loss", ("loss/policy",)),
    Chart("Value loss", ("loss/value",)),
    Chart("Gradient norm", ("grad_norm/*",), "before clipping"),
    Chart("Learning rate", ("learning_rate*",), smooth=False),
    Chart("Zero-variance groups", ("zero_variance_groups",), "share of groups with equal scores: no gradient"),
    Chart("Verifier errors", ("verifier_errors",), "samples left out of the gradient", smooth=False),
    Chart(
        "Verifier timeouts",
        ("verifier_timeouts",),
        "answers too slow or too large to judge, which score 0",
        smooth=False,
    ),
    Chart("Staleness", ("staleness",), "policy versions between sampling and training", smooth=False),
    Chart("Time per step", ("time/*",), "seconds"),
    Chart("Throughput", ("tokens_per_second/*",), "tokens per second"),
)


def build_charts(rows: Sequence[MetricRow]) -> StageCharts:
    """Return the charts of a stage from its lines of metrics.jsonl; a metric that no chart names gets its own at the end.

    Lines of the same step are one step.
    """
    by_step: dict[int, MetricRow] = {}
    for row in rows:
        by_step.setdefault(row["step"], {}).update(row)  # an evaluation adds a line to its step
    steps = sorted(by_step)
    steps_per_point = math.ceil(len(steps) / MAX_POINTS) or 1
    groups = [steps[i : i + steps_per_point] for i in range(0, len(steps), steps_per_point)]
    # In the order they first appear.
    names = [n for n in dict.fromkeys(n for step in steps for n in by_step[step]) if n not in ("stage", "step")]
    bounds = {n for n in names if n.endswith(("/low", "/high")) and n.rpartition("/")[0] in names}
    timings = [n for n in names if n.startswith("time/")]
    if len(timings) == 1:  # a single timing is a curve like any other
        timings = []
    curves = [n for n in names if n not in bounds and n not in timings]

    def values(name: str) -> list[float | None]:
        return [_mean([by_step[step].get(name) for step in group]) for group in groups]

    def bound(name: str) -> list[float | None] | None:
        return values(name) if name in bounds else None

    def series(name: str) -> Series:
        return {"name": name, "values": values(name), "low": bound(f"{name}/low"), "high": bound(f"{name}/high")}

    other_charts = [Chart(n, (n,)) for n in curves if not any(_draws(chart, n) for chart in CHARTS)]
    charts: list[ChartData] = []
    for chart in (*CHARTS, *other_charts):
        chart_series = [series(name) for name in curves if _draws(chart, name)]
        if chart_series:
            charts.append(
                {
                    "title": chart.title,
                    "subtitle": chart.subtitle,
                    "scale": chart.scale,
                    "smooth": chart.smooth,
                    "series": chart_series,
                }
            )
    return {
        "steps": [group[-1] for group in groups],
        "steps_per_point": steps_per_point,
        "charts": charts,
        "phases": _phases({n.removeprefix("time/"): values(n) for n in timings}),
    }


def _draws(chart: Chart, name: str) -> bool:
    return any(name.startswith(m[:-1]) if m.endswith("*") else name == m for m in chart.metrics)


def _phases(seconds: dict[str, list[float | None]]) -> list[Phase]:
    """Return the phases, and `other` for the part of `time/step` outside all of them (0 where phases overlap)."""
    totals = seconds.pop("step", None)
    if totals:
        sums = [sum(v or 0.0 for v in column) for column in zip(*seconds.values(), strict=True)]
        seconds["other"] = [_round(max((t or 0.0) - s, 0.0)) for t, s in zip(totals, sums, strict=True)]
    return [{"name": name, "values": values} for name, values in seconds.items()]


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [v for v in values if v is not None and math.isfinite(v)]  # a NaN would be no valid JSON
    return _round(sum(finite) / len(finite)) if finite else None


def _round(value: float) -> float:
    return float(f"{value:.5g}")  # five digits are finer than a pixel; the page holds thousands of points
