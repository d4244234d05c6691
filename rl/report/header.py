"""The head of a run's report: its name and status, why it failed, warnings, the gain in accuracy, a timeline, the machine."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rl.data.rows import fail
from rl.report.markup import escape, format_share
from rl.report.run_data import Run, Stage, compute_paired_difference
from rl.run.progress import format_clock
from rl.run.tracker import Refuse
from rl.units import many


def render_header(run: Run, refuse: Refuse = fail) -> str:
    """Return the page's head: name, status, gain in accuracy, a timeline of the stages, and the environment."""
    seconds = "" if run.seconds is None else f"<span>{format_clock(run.seconds)}</span>"
    failure = f'<p class="failure">{escape(str(run.failure))}</p>' if run.failure else ""
    as_of = f"<span>as of {time.strftime('%H:%M:%S')}</span>" if run.status == "running" else ""
    css_class = run.status if run.status in ("done", "failed", "interrupted") else "running"
    return (
        f'<header><p class="eyebrow">Groundtone run</p><div class="title"><h1>{escape(run.name)}</h1>'
        f'<p class="status {css_class}">{escape(run.status)}</p>{as_of}</div>'
        f"{failure}{_render_warnings(run.warnings)}{_render_gain(run.evaluations, refuse)}"
        f"{_render_timeline(run.stages, seconds)}{_render_environment(run)}</header>"
    )


def _render_warnings(warnings: Sequence[str]) -> str:
    """Return what the run's stages warned of, a paragraph each."""
    return "".join(f'<p class="warning">{escape(text)}</p>' for text in warnings)


def _render_gain(evaluations: Sequence[Stage], refuse: Refuse) -> str:
    """Return the accuracy of the first and the last evaluation on the prompts that both have, with the paired interval of
    their difference; empty if they share no prompt."""
    if len(evaluations) < 2:
        return ""
    gain = compute_paired_difference(evaluations[0], evaluations[-1], refuse=refuse)
    if gain is None:
        return ""
    difference, low, high = (f"{100 * value:+.1f}" for value in (gain.mean, gain.low, gain.high))
    names = f"{escape(evaluations[0].name)} → {escape(evaluations[-1].name)}"
    prompts = many(gain.prompts, "prompt")
    return (
        f'<p class="gain"><span>accuracy</span><b>{format_share(gain.before)}</b><i>→</i><b>{format_share(gain.after)}</b>'
        f"<em>{difference} points <small>95 %: {low} to {high}; {names}, on the {prompts} that both have</small></em></p>"
    )


def _render_timeline(stages: Sequence[Stage], seconds: str) -> str:
    """Return the stages as blocks whose widths are their durations."""
    if not stages:
        return f'<p class="total">{seconds}</p>' if seconds else ""
    # Widths share the line in proportion to seconds; 0.01 s keeps a stage without duration visible.
    finished_blocks = "".join(
        f'<li style="flex-grow:{max(stage.seconds or 0.0, 0.01):.3f}" class="{escape(stage.kind)}">'
        f"<b>{escape(stage.name)}</b><span>{format_clock(stage.seconds or 0.0)}</span></li>"
        for stage in stages
        if stage.is_finished
    )
    unfinished_blocks = "".join(
        f'<li class="unfinished"><b>{escape(stage.name)}</b><span>unfinished'
        f"{'' if stage.last_step is None else f', step {stage.last_step}'}</span></li>"
        for stage in stages
        if not stage.is_finished
    )
    total = f'<p class="total">{seconds}</p>' if seconds else ""
    return f'<div class="time">{total}<ol class="timeline">{finished_blocks}{unfinished_blocks}</ol></div>'


def _render_environment(run: Run) -> str:
    # Packages follow, one fact each.
    facts = {name: value for name, value in run.environment.items() if value and name != "packages"}
    packages = run.environment.get("packages")
    facts |= packages if isinstance(packages, dict) else {}
    if not facts:
        return ""
    items = "".join(f"<div><dt>{escape(str(n))}</dt><dd>{escape(str(v))}</dd></div>" for n, v in facts.items())
    return f"<details><summary>Environment</summary><dl>{items}</dl></details>"
