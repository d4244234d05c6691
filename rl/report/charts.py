"""Which curves the report draws of a training stage, and their points: plain data that `page.js` turns into SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

POINTS = 400  # per curve; longer runs are averaged over neighbouring steps, and the page says so


@dataclass(frozen=True, slots=True)
class Chart:
    """`metrics` are drawn together; a trailing `*` stands for every metric that begins so."""

    title: str
    metrics: tuple[str, ...]
    about: str = ""
    scale: str = "linear"
    noisy: bool = True
    """Worth smoothing."""


# In reading order: does it learn, what does it write, is the update sane, what goes wrong, what does it cost.
CHARTS = (
    Chart("Reward", ("reward",), "mean score of the step's samples"),
    Chart("Parts of the reward", ("part/*",), "before weighting"),
    Chart("Held-out accuracy", ("eval/accuracy", "eval/greedy_accuracy"), "measured during training"),
    Chart("Loss", ("loss",)),
    Chart("Response length", ("length/mean", "length/max"), "tokens"),
    Chart("Truncated", ("truncation_rate",), "share cut off at the length limit"),
    Chart("Entropy", ("entropy",), "nats a token; at 0 exploration has ended"),
    Chart("KL", ("kl/ref", "approx_kl"), "to the reference; of one update"),
    Chart("Engine against trainer", ("logprob_gap/mean", "logprob_gap/max"), "gap in logprob; keep it tiny", "log"),
    Chart("Clip fraction", ("clip_fraction",), "of tokens whose ratio left the clip range"),
    Chart("Explained variance", ("explained_variance",), "of returns, by the critic; 1 is best"),
    Chart("Policy loss", ("loss/policy",)),
    Chart("Value loss", ("loss/value",)),
    Chart("Gradient norm", ("grad_norm/*",), "before clipping"),
    Chart("Learning rate", ("learning_rate*",), noisy=False),
    Chart("Zero-variance groups", ("zero_variance_groups",), "scored alike: nothing to learn"),
    Chart("Verifier errors", ("verifier_errors",), "kept out of the gradient", noisy=False),
    Chart("Staleness", ("staleness",), "policy versions between writing and learning", noisy=False),
    Chart("Time per step", ("time/*",), "seconds"),
    Chart("Throughput", ("tokens_per_second/*",), "tokens a second"),
)


def stage_charts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`{"steps", "per" (steps averaged in a point), "charts", "phases"}` from a stage's metric lines; lines of the same
    step are one step. Metrics no chart asks for get one each at the end."""
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        merged.setdefault(row["step"], {}).update(row)
    steps = sorted(merged)
    per = math.ceil(len(steps) / POINTS) or 1
    groups = [steps[i : i + per] for i in range(0, len(steps), per)]
    names = [n for n in dict.fromkeys(n for step in steps for n in merged[step]) if n not in ("stage", "step")]

    def values(name: str) -> list[float | None]:
        return [_mean([merged[step].get(name) for step in group]) for group in groups]

    def bound(name: str) -> list[float | None] | None:
        return values(name) if name in bounds else None

    bounds = {n for n in names if n.endswith(("/low", "/high")) and n.rpartition("/")[0] in names}
    timings = [n for n in names if n.startswith("time/")]
    timings = timings if len(timings) > 1 else []  # one alone is a curve like any other
    shown = [n for n in names if n not in bounds and n not in timings]
    charts: list[dict[str, Any]] = []
    for chart in (*CHARTS, *(Chart(n, (n,)) for n in shown if not any(_draws(c, n) for c in CHARTS))):
        drawn = [n for n in shown if _draws(chart, n)]
        if drawn:
            series = [
                {"name": n, "values": values(n), "low": bound(f"{n}/low"), "high": bound(f"{n}/high")} for n in drawn
            ]
            head = {"title": chart.title, "about": chart.about, "scale": chart.scale, "noisy": chart.noisy}
            charts.append({**head, "series": series})
    phases = _phases({n.removeprefix("time/"): values(n) for n in timings})
    return {"steps": [group[-1] for group in groups], "per": per, "charts": charts, "phases": phases}


def _draws(chart: Chart, name: str) -> bool:
    return any(name.startswith(m[:-1]) if m.endswith("*") else name == m for m in chart.metrics)


def _phases(seconds: dict[str, list[float | None]]) -> list[dict[str, Any]]:
    """What a step's time went to; what no phase claims of `time/step` is `other` (phases that overlap leave none)."""
    whole = seconds.pop("step", None)
    if whole:
        claimed = [sum(v or 0.0 for v in column) for column in zip(*seconds.values(), strict=True)]
        seconds["other"] = [_short(max((t or 0.0) - c, 0.0)) for t, c in zip(whole, claimed, strict=True)]
    return [{"name": name, "values": values} for name, values in seconds.items()]


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [v for v in values if v is not None and math.isfinite(v)]
    return _short(sum(finite) / len(finite)) if finite else None


def _short(value: float) -> float:
    return float(f"{value:.5g}")
