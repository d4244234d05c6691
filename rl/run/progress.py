"""A live line on a terminal; on anything else a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

HEADLINES = ("kept", "reward", "loss", "accuracy", "eval/accuracy", "length/mean", "entropy", "kl/ref", "time/step")


class Progress:
    """`with Progress("rlvr", total=200) as progress: progress.advance(step, metrics)`, where `step` counts finished
    steps up to `total`. A resumed stage may start anywhere: the time left is reckoned from the steps seen here. Off a
    terminal it prints the first and the last step and at most one line every `every` seconds."""

    def __init__(self, stage: str, total: int, console: Console | None = None, every: float = 10.0) -> None:
        self.stage, self.total, self.every = stage, total, every
        self.console = console or Console()
        self._first: int | None = None
        self._printed, self._latest = -float("inf"), ""
        columns = (TextColumn("[bold]{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        self._bar = Bar(*columns, TextColumn("{task.fields[says]}"), console=self.console)
        self._task = self._bar.add_task(stage, total=total, says="")

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self.console.is_terminal:
            self._bar.start()
        return self

    def advance(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that `step` has ended, with its headline metrics."""
        now = time.monotonic()
        if self._first is None:
            self._first = step
        pace = (now - self._started) / (step - self._first + 1)
        says = "  ".join([headlines(metrics), f"{clock(pace * (self.total - step))} left"]).strip()
        if self.console.is_terminal:
            self._bar.update(self._task, completed=step, says=says)
            return
        self._latest = f"{self.stage}  {step}/{self.total}  {says}"
        if step >= self.total or now - self._printed >= self.every:
            self._print(now)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self.console.is_terminal:
            self._bar.stop()
        elif self._latest:
            self._print(time.monotonic())

    def _print(self, now: float) -> None:
        self.console.print(self._latest, markup=False, highlight=False, soft_wrap=True)
        self._printed, self._latest = now, ""


def headlines(metrics: Mapping[str, float], most: int = 4) -> str:
    """The few metrics one watches, or else the first, as text: `reward 0.412  length/mean 38.1`."""
    shown = ([name for name in HEADLINES if name in metrics] or [n for n in metrics if n not in ("stage", "step")])[
        :most
    ]
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in shown)


def clock(seconds: float) -> str:
    """`0:42`, `12:05`, `3:07:00`."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
