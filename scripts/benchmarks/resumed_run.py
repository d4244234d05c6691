"""Keeps a run alive in a process of its own: its processes are killed, and it is resumed whenever it ends too early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rl.run.summary import Recovery, Summary, read_summary
from rl.run.tracker import read_metrics

PATIENCE_S = 900.0
"""Seconds without a new step after which the run counts as hung."""
MOST_RESUMES = 4
"""Drivers in a row that may end without a new step: what ends the fifth is no kill of ours."""
GOODBYE_S = 30.0
"""Seconds in which a run that is told to end does so."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A kind of process, found by a part of its command line."""

    name: str
    title: str
    place: int = 0
    """Number among several, in the order in which they were started: the policy's trainer comes before the reference's."""


VICTIMS = (
    Victim("policy", "ray::PolicyWorker", 0),
    Victim("reference", "ray::PolicyWorker", 1),
    Victim("critic", "ray::CriticWorker"),
    Victim("engine", "ray::EngineWorker"),
    Victim("reward worker", "serve_forks"),  # a child of it
    Victim("raylet", "raylet/raylet"),
    Victim("GCS", "gcs/gcs_server"),
    Victim("driver", ""),
)


@dataclass(frozen=True, slots=True)
class Kill:
    """A process that was killed, and how the run went on."""

    victim: str
    step: int
    """Number of steps that were recorded when it was killed."""
    answer: str
    """Remedy: a new process in its place, a new cluster, or a new driver (`--resume`)."""
    seconds: float
    """Seconds until a step that began after the kill was recorded."""

    def __str__(self) -> str:
        return f"{self.victim}, after step {self.step}: {self.answer}; a whole step after {self.seconds:.0f} s"


class Run:
    """A run of the recipe in a process of its own, which is resumed whenever it ends too early. It ends with the block."""

    def __init__(self, recipe: Path, out: Path, env: Mapping[str, str] = os.environ) -> None:
        self.recipe, self.out, self.env = recipe, out, env
        self.resumes = -1
        self.start()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        # A session of its own is not ended by Ctrl-C; what the run has started ends with it.
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GOODBYE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def start(self) -> None:
        """Start the run, or go on with it."""
        self.resumes += 1
        command = [sys.executable, "-m", "rl.cli", "run", str(self.recipe), "--out", str(self.out)]
        if (self.out / "recipe.yaml").exists():
            command.append("--resume")
        with self.out.with_suffix(".log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=self.env)

    @property
    def last_step(self) -> int:
        """Number of steps that are recorded."""
        rows = read_metrics(self.out) if (self.out / "recipe.yaml").exists() else []
        return max((row["step"] for row in rows), default=0)

    @property
    def summary(self) -> Summary | None:
        """The run's summary, which is absent until it has begun."""
        return read_summary(self.out) if (self.out / "recipe.yaml").exists() else None

    @property
    def recoveries(self) -> list[Recovery]:
        """Clusters that were built anew."""
        return list(self.summary.recoveries) if self.summary else []

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait for a condition, and go on with a run that has ended before it. Raises RuntimeError for one that hangs."""
        step, since, resumes = -1, time.monotonic(), self.resumes
        while not until():
            if self.last_step != step:
                step, since, resumes = self.last_step, time.monotonic(), self.resumes
            if time.monotonic() - since > PATIENCE_S:
                raise RuntimeError(self._explain(f"no new step for {PATIENCE_S:.0f} s after step {step}"))
            if self.process.poll() is not None and not self.is_done():
                if self.resumes - resumes >= MOST_RESUMES:
                    raise RuntimeError(self._explain(f"{MOST_RESUMES} drivers in a row ended after step {step}"))
                self.start()
            time.sleep(0.1)

    def _explain(self, problem: str) -> str:
        """Return the problem with the last line that the run has written."""
        lines = self.out.with_suffix(".log").read_text().strip().splitlines() or [""]
        return f"{self.out}: {problem}; its last line: {lines[-1]}"

    def is_done(self) -> bool:
        """Return whether the run has come to its end."""
        return self.process.poll() == 0

    def find(self, victim: Victim) -> psutil.Process | None:
        """Return the victim's process, or None while it is not there."""
        try:
            driver = psutil.Process(self.process.pid)
            if not victim.title:
                return driver
            below = [p for p in driver.children(recursive=True) if victim.title in " ".join(p.cmdline())]
            if victim.title == "serve_forks":
                below = [child for forkserver in below for child in forkserver.children()]
            below.sort(key=lambda process: process.pid)
            return below[victim.place]
        except (psutil.Error, IndexError):
            return None

    def kill(self, victim: Victim, delay: float) -> Kill:
        """Kill the victim in so many seconds, and wait until the run has taken a whole step after that."""
        time.sleep(delay)
        self.wait(lambda: self.is_done() or self.find(victim) is not None)
        step, resumes, recoveries = self.last_step, self.resumes, len(self.recoveries)
        start = time.monotonic()
        if (process := self.find(victim)) is None or self.is_done():
            return Kill(victim.name, step, "not killed: the run had ended", 0.0)
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.send_signal(signal.SIGKILL)
        # The current step may not need the victim any more; the one after it begins without the victim.
        self.wait(lambda: self.is_done() or (self.process.poll() is None and self.last_step > step + 1))
        answer = "a new process"
        if self.resumes > resumes:
            answer = "--resume"
        elif len(self.recoveries) > recoveries:
            answer = f"a new cluster in {self.recoveries[-1].seconds:.0f} s"
        return Kill(victim.name, step, answer, time.monotonic() - start)
