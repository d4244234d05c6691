"""Progress of a stage: a live bar on a terminal, now and then a plain line on anything else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from rl import terminal

HEADLINES = (
    "kept",
    "reward",
    "loss",
    "accuracy",
    "eval/accuracy",
    "length/mean",
    "entropy",
    "kl/ref",
    "kl/teacher",
    "time/step",
)
"""Metrics worth a place in one line, the first ones first."""


class Progress:
    """A progress display for one stage.

    `with Progress("rlvr", total=200) as progress: progress.advance(step, metrics)`, where `step` counts finished steps
    up to `total`. A resumed stage may start at any step: the time left is estimated from the steps seen here. Off a
    terminal it prints the first and the last step, and at most one line every `every` seconds between them.
    """

    def __init__(self, stage: str, total: int, console: Console | None = None, every: float = 10.0) -> None:
        self.stage, self.total, self.every = stage, total, every
        self.console = console or terminal.console()
        self._first: int | None = None
        self._printed_at, self._latest = -float("inf"), ""  # seconds; the line not printed yet
        columns = (TextColumn("[bold]{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        self._bar = Bar(*columns, TextColumn("{task.fields[status]}"), console=self.console)
        self._task = self._bar.add_task(stage, total=total, status="")

    def __enter__(self) -> Self:
        self._started_at = time.monotonic()
        if self.console.is_terminal:
            self._bar.start()
        return self

    def advance(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show that `step` has finished, with its headline metrics."""
        now = time.monotonic()
        if self._first is None:
            self._first = step
        # The first step seen counts too: the clock has run since before it.
        seconds_per_step = (now - self._started_at) / (step - self._first + 1)
        remaining = format_clock(seconds_per_step * (self.total - step))
        status = "  ".join([format_headlines(metrics), f"{remaining} left"]).strip()
        if self.console.is_terminal:
            self._bar.update(self._task, completed=step, status=status)
            return
        self._latest = f"{self.stage}  {step}/{self.total}  {status}"
        if step >= self.total or now - self._printed_at >= self.every:
            self._print(now)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self.console.is_terminal:
            self._bar.stop()
        elif self._latest:  # a stage that stopped early ends with its last step
            self._print(time.monotonic())

    def _print(self, now: float) -> None:
        # As it is: neither markup nor wrapped.
        self.console.print(self._latest, markup=False, highlight=False, soft_wrap=True)
        self._printed_at, self._latest = now, ""


def format_headlines(metrics: Mapping[str, float], limit: int = 4) -> str:
    """Return the first headline metrics, or else the first of all, as text: `reward 0.412  length/mean 38.1`."""
    names = [name for name in HEADLINES if name in metrics]
    if not names:
        names = [name for name in metrics if name not in ("stage", "step")]  # a line of metrics.jsonl has these two
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in names[:limit])


def format_clock(seconds: float) -> str:
    """Return seconds as `0:42`, `12:05` or `3:07:00`; a dash where they are no finite number."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
