"""Enforces deadlines in CPU time, with the wall clock as a wide limit behind them.

On a busy machine a second of work takes many on the clock, so the clock cannot tell a slow program from one that gets no
core. What counts is the CPU time of a process and of all that it starts. A program that waits instead of working
(`sleep`, a lock, a server that does not answer) uses none and is ended by the clock: by the seconds in which it neither
worked nor was ready to work and had no core, as far as the kernel counts these.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")  # the unit of CPU time in /proc/PID/stat
# Shortest and longest time between two checks. The longest is short because a process's starvation since the last check
# is lost when it ends; the shortest keeps the watching itself from taking a core.
_SHORTEST_S, _LONGEST_S = 0.01, 0.5
# Number of threads of one process whose starvation is added up, since each may have waited for the one before.
_TAKING_TURNS = 4
# Starvation beyond this is the work's own doing: a program that sleeps for a microsecond at a time waits for a core
# after each sleep, and on a busy machine hardly ever uses one. Work that wants a core gets at least a hundredth of one
# on any machine that still answers.
_STARVED_GRACE_S, _STARVED_PER_CPU_S = 60.0, 100.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """Time limits of a piece of work: CPU time, and wall-clock time while it waits."""

    cpu_s: float
    """Seconds of CPU time that it may use."""
    wall_s: float
    """Seconds for which it may neither work nor lack a core."""

    @property
    def reasons(self) -> tuple[str, str]:
        """(error of work that used up its CPU time, error of work that waited too long)."""
        return f"used its {self.cpu_s:g} s of CPU time", f"gave no answer within {self.wall_s:g} s"


@dataclass(slots=True, eq=False)
class Watch:
    """A deadline over the current work of the processes `pids`."""

    deadline: Deadline
    pids: tuple[int, ...]
    new_processes: bool
    """True if the processes exist for this work alone. Otherwise CPU time counts from the first check on, since what
    they used before belongs to earlier work."""
    start_time: float = field(default_factory=time.monotonic)
    """Time at which the work began (`time.monotonic`)."""
    next_check: float = 0.0
    """Time of the next check (`time.monotonic`)."""
    cpu_s: float = 0.0
    """Seconds of CPU time up to the last check."""
    idle_s: float = 0.0
    """Seconds up to the last check for which the work neither ran nor was ready to run."""
    _cpu_before_s: float = 0.0
    _last_check: float = 0.0
    _worked_s: float = 0.0
    """Seconds of the clock in which it worked, on one core or several."""
    _starved_s: float = 0.0
    """Seconds of the clock in which it was ready to run and had no core."""
    _starved_ns: dict[int, int] = field(default_factory=dict[int, int])
    """Nanoseconds ready to run without a core, by thread; a thread that has ended keeps its last number."""
    _check_count: int = 0

    def __post_init__(self) -> None:
        # The first check comes late enough that most work ends before it and is never measured.
        self.next_check = self.start_time + min(self.deadline.cpu_s / 20, self.deadline.wall_s / 2)
        self._last_check = self.start_time

    def seconds_to_check(self) -> float:
        """Return the seconds until the next check."""
        return max(0.0, self.next_check - time.monotonic())

    def check(self) -> str:
        """Return why the work must end, or "" while it may go on."""
        now = time.monotonic()
        if now < self.next_check:
            return ""
        cpu_before_s, elapsed_s = self.cpu_s, now - self._last_check
        cpu_s, longest_s, starved_s = self._measure()
        if self._check_count == 0 and not self.new_processes:
            self._cpu_before_s, longest_s, starved_s = cpu_s, 0.0, 0.0
        self._check_count += 1
        self._last_check = now
        self.cpu_s = cpu_s - self._cpu_before_s
        # Several threads can work and starve at once, so their sums are limited by what the clock shows since the last check:
        # or forty threads that wake together would excuse the sleep that follows. One thread's own starvation is not limited:
        # the kernel counts it when the thread gets a core, which may be many checks after it began to wait.
        worked_s = min(self.cpu_s - cpu_before_s, elapsed_s)
        self._worked_s += worked_s
        self._starved_s += max(longest_s, min(starved_s, elapsed_s - worked_s))
        starved_s = min(self._starved_s, _STARVED_GRACE_S + _STARVED_PER_CPU_S * self.cpu_s)
        self.idle_s = max(0.0, now - self.start_time - starved_s - self._worked_s)
        cpu_left, wall_left = self.deadline.cpu_s - self.cpu_s, self.deadline.wall_s - self.idle_s
        # A single thread's CPU time runs no faster than the clock, so no deadline can pass before the time that is left
        # has. Young work is checked more often, or `idle_s` would miss the starvation of threads that end between two
        # checks.
        wait_s = max(_SHORTEST_S, min(cpu_left, wall_left, now - self.start_time))
        self.next_check = now + min(wait_s, _LONGEST_S)
        cpu_reason, wall_reason = self.deadline.reasons
        if cpu_left <= 0:
            return cpu_reason
        return wall_reason if wall_left <= 0 else ""

    def _measure(self) -> tuple[float, float, float]:
        """Return (CPU seconds of the processes, of their living descendants and of those that these have waited for; seconds
        since the last check for which the thread that starved most was ready to run and had no core, 0 where the kernel
        does not count them; the same of all processes, of some threads of each, added up)."""
        ticks, longest_s, starved_s = 0, 0.0, 0.0
        for root in self.pids:
            for pid in (root, *list_descendants(root)):
                with suppress(OSError, IndexError):  # the process has just ended
                    # The command's name, in parentheses, may hold spaces and parentheses itself: split after the last. It
                    # is whatever bytes the process has chosen, perhaps not text.
                    values = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
                    ticks += sum(map(int, values[11:15]))  # utime, stime, cutime, cstime of proc(5)
                    threads_s = self._measure_starvation(pid)
                    longest_s = max([longest_s, *threads_s])
                    starved_s += sum(threads_s)
        return ticks * _TICK_S, longest_s, starved_s

    def _measure_starvation(self, pid: int) -> list[float]:
        """Return the seconds since the last check for which threads of a process were ready to run and had no core: of the
        few that starved most."""
        new_ns: list[int] = []
        with suppress(OSError, IndexError):  # it has just ended
            for thread in map(int, os.listdir(f"/proc/{pid}/task")):
                schedule = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
                starved_ns = int(schedule.split()[1])  # time on the run queue, not on a core
                new_ns.append(starved_ns - self._starved_ns.get(thread, 0))
                self._starved_ns[thread] = starved_ns
        return [starved / 1e9 for starved in sorted(new_ns)[-_TAKING_TURNS:]]


def list_children(pid: int) -> list[int]:
    """Return the processes that `pid` has started or adopted and not waited for."""
    pids: list[int] = []
    with suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            pids += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return pids


def list_descendants(pid: int) -> list[int]:
    """Return the children of `pid`, their children, and so on; parents before their children."""
    pids = list_children(pid)
    for descendant in pids:  # the list grows while the loop reads it
        pids += list_children(descendant)
    return pids
