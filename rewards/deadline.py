"""Deadlines in CPU time, with the wall clock as a wide limit behind them.

On a busy machine a second of work takes many on the clock, so the clock cannot tell a slow program from one that gets no
core. What counts is the CPU time of a process and of all that it starts. A program that waits instead of working
(`sleep`, a lock, a server that does not answer) uses none, and is ended by the clock: by the seconds in which it neither
worked nor was ready to work and had no core, as far as the kernel counts these.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SHORTEST_S, _LONGEST_S = 0.01, 0.5  # between looks; what a process was starved of since the last one ends with it


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a piece of work may take: in CPU time, and on the clock while it waits."""

    cpu_s: float
    wall_s: float

    @property
    def reasons(self) -> tuple[str, str]:
        """What is said of work that misses it: by CPU time, by the clock."""
        return f"used its {self.cpu_s:g} s of CPU time", f"gave no answer within {self.wall_s:g} s"


@dataclass(slots=True, eq=False)
class Watch:
    """A deadline over the work that the processes `pids` are at."""

    deadline: Deadline
    pids: tuple[int, ...]
    fresh: bool
    """Whether the processes exist for this work alone. Else CPU time counts from the first look on: what they have used
    before belongs to earlier work."""
    since: float = field(default_factory=time.monotonic)
    due: float = 0.0
    """When to look next."""
    worked_s: float = 0.0
    """CPU time up to the last look."""
    waited_s: float = 0.0
    """For how long, up to the last look, it has neither worked nor been ready to work."""
    _cpu_before_s: float = 0.0
    _starved_before_s: float = 0.0
    _starved_ns: dict[int, int] = field(default_factory=dict[int, int])
    """By thread; those that have ended stay as last seen."""
    _looks: int = 0

    def __post_init__(self) -> None:
        # Most work ends before its first look, which then costs nothing.
        self.due = self.since + min(self.deadline.cpu_s / 20, self.deadline.wall_s / 2)

    def left_s(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self.due - time.monotonic())

    def missed(self) -> str:
        """Say why the work must end; empty while it may go on."""
        now = time.monotonic()
        if now < self.due:
            return ""
        cpu_s, starved_s = self._measure()
        if self._looks == 0 and not self.fresh:
            self._cpu_before_s, self._starved_before_s = cpu_s, starved_s
        self._looks += 1
        self.worked_s = cpu_s - self._cpu_before_s
        starved_s -= self._starved_before_s
        self.waited_s = max(0.0, now - self.since - starved_s - self.worked_s)
        cpu_left, wall_left = self.deadline.cpu_s - self.worked_s, self.deadline.wall_s - self.waited_s
        # Nothing works for longer than the clock runs, but for threads; short work is looked at often, for `waited_s`.
        self.due = now + min(max(_SHORTEST_S, min(cpu_left, wall_left, now - self.since)), _LONGEST_S)
        by_cpu, by_clock = self.deadline.reasons
        return by_cpu if cpu_left <= 0 else by_clock if wall_left <= 0 else ""

    def _measure(self) -> tuple[float, float]:
        """(CPU seconds of the processes, of their living descendants and of those that these have waited for; seconds for
        which they were ready to run and had no core, 0 where the kernel does not count them)."""
        ticks = 0
        for pid in (p for root in self.pids for p in (root, *descendants(root))):
            with suppress(OSError, IndexError):  # it has just ended
                after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, after_name[11:15]))  # utime, stime, cutime, cstime of proc(5)
                for thread in map(int, os.listdir(f"/proc/{pid}/task")):
                    schedule = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
                    self._starved_ns[thread] = int(schedule.split()[1])
        return ticks * _TICK_S, sum(self._starved_ns.values()) / 1e9


def children(pid: int) -> list[int]:
    """Return the processes that `pid` has started and not waited for, those that it has adopted too."""
    found: list[int] = []
    with suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return its children, theirs, and so on; parents before their children."""
    found = children(pid)
    for one in found:  # the list grows as it is read
        found += children(one)
    return found
