"""Watch over the processes of a run: which of them has not run for too long, stopped (SIGSTOP) or frozen with its container.

It looks from outside, at what the kernel says of a process, so that a long step, a compilation or a load counts as life.
On this machine it looks by itself; on other nodes of a cluster a small Ray task does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rewards.deadline import list_children, list_descendants
from rl.terminal import say

CHECKS = 6
"""Checks within the time that a process may be stopped."""
LONGEST_PAUSE_S = 5.0
"""Longest pause between two checks."""
NODE_PATIENCE_S = 180.0
"""Seconds for which another node may leave a question unanswered. Ray itself asks every node after its health and declares
lost, with its actors, one that has not answered for about a minute (five times in a row, every 3 s, 10 s each); the run then
ends because of that. What is left for us is a node that answers Ray and starts no task: it may be slow to (a network with
losses, a full disk, a machine out of memory that swaps), and slowness is no standstill."""


@dataclass(frozen=True, slots=True)
class Life:
    """The kernel's account of a process."""

    stopped: bool
    """True if a signal has stopped it; a process in a debugger does not count, since a person is at work there."""
    runs: int | None
    """Times that a thread of it has got a core so far; None where it may sleep for as long as it likes, or the kernel
    does not count."""
    read_at: float = field(default_factory=time.monotonic, compare=False)
    """Time at which the kernel gave it, by the clock of its own machine: an account sent by another machine may be
    old."""


@dataclass
class Watchlist:
    """The time for which each process has not run, or each node has not answered. Times are those of `time.monotonic`."""

    limit_s: float
    act: str = "run"
    frozen: str = "it is frozen, or the kernel does not wake it"
    seen: dict[str, tuple[float, Life]] = field(default_factory=dict[str, tuple[float, Life]])
    """Name of a process → since when it has not run, and how it was then."""
    last_check: float | None = None

    def find_stuck(self, lives: Mapping[str, Life], now: float) -> str | None:
        """Return the process that has not run for `limit_s` seconds, with the time and the reason; None if all live."""
        if self.last_check is not None and now - self.last_check > max(self.limit_s / 2, 3 * LONGEST_PAUSE_S):
            self.seen.clear()  # this process itself was stopped, and the others perhaps with it
            lives = {}  # nor is anything that another node had sent before that the news
        self.last_check = now
        for name in self.seen.keys() - lives.keys():
            del self.seen[name]
        for name, life in lives.items():
            since, earlier = self.seen.get(name, (life.read_at, life))
            # A stopped process may count a run more on its way to the stop, or as it is killed.
            stands_still = life.stopped or (life.runs is not None and life == earlier)
            if not stands_still or (life.stopped and not earlier.stopped):
                since = life.read_at
            self.seen[name] = since, life
            # From account to account, not until now: while none arrives, nobody knows whether the process runs.
            if stands_still and (duration := life.read_at - since) >= self.limit_s:
                reason = "it is stopped (SIGSTOP)" if life.stopped else self.frozen
                return f"{name} has not {self.act} for {duration:.0f} s: {reason}"
        return None


class Watchdog:
    """A thread that calls `report` once, with what `find_lives` shows to be stuck, or with a node that `find_nodes` shows
    to be silent."""

    def __init__(
        self,
        limit_s: float,
        find_lives: Callable[[], Mapping[str, Life]],
        report: Callable[[str], None],
        find_nodes: Callable[[], Mapping[str, Life]] = dict,
    ) -> None:
        self.processes, self.find_lives, self.report = Watchlist(limit_s), find_lives, report
        silence = "it is frozen, or cut off from the network"
        self.nodes, self.find_nodes = Watchlist(max(limit_s, NODE_PATIENCE_S), "answered", silence), find_nodes
        self.pause_s = min(limit_s / CHECKS, LONGEST_PAUSE_S)
        self.last_warning = ""
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        if limit_s:
            self.thread.start()

    def close(self) -> None:
        """Stop watching, before Ray is gone: a question to Ray would start another one."""
        self.ended.set()
        if self.thread.is_alive() and self.thread is not threading.current_thread():
            self.thread.join(timeout=2.0)  # a question to a Ray that stands still is not waited for

    def _run(self) -> None:
        while not self.ended.wait(self.pause_s):
            stuck = self._look(self.processes, self.find_lives) or self._look(self.nodes, self.find_nodes)
            if stuck and not self.ended.is_set():
                return self.report(f"{stuck}; end it if it is still there")

    def _look(self, watchlist: Watchlist, find: Callable[[], Mapping[str, Life]]) -> str | None:
        try:
            return watchlist.find_stuck(find(), time.monotonic())
        except Exception as error:  # isolation boundary: without its watch a run may wait for ever
            warning = f"warning: the run's processes could not be looked at: {type(error).__name__}: {error}"
            if warning != self.last_warning and not self.ended.is_set():
                say(warning)
            self.last_warning = warning
            return None


def read_life(pid: int, counts_runs: bool) -> Life | None:
    """Return what the kernel says of a process; None if it has ended. `counts_runs`: it has timers, and must run."""
    try:
        # The command's name, in parentheses, may hold spaces and parentheses itself, and need not be text: split after the last.
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    if state == "Z":
        return None
    return Life(state == "T", _count_runs(pid) if counts_runs and state != "t" else None)


def lives_of_ray(driver: int, names: Mapping[int, str]) -> dict[str, Life]:
    """Return the processes of the Ray that the process `driver` has started: GCS, raylet, its workers and what they have
    started. `names` are those of the actors, by process id."""
    lives: dict[str, Life] = {}
    for pid in list_children(driver):
        command = read_command(pid)
        title = next((title for part, title in RAY.items() if part in command), None)
        if title is None:
            continue
        _add(lives, f"{title} (pid {pid})", pid, counts_runs="gcs" in command or "raylet" in command)
        if "raylet/raylet" in command:
            lives |= lives_of_workers(list_children(pid), names)
    return lives


RAY = {
    "gcs/gcs_server": "Ray's GCS",
    "raylet/raylet": "Ray's raylet",
    "serve_forks": "the reward's verifiers' forkserver",
}
"""Part of the command line of a process that a driver starts → its name. Verifiers themselves have deadlines of their own,
and run what models write."""


def lives_of_workers(pids: Iterable[int], names: Mapping[int, str]) -> dict[str, Life]:
    """Return the actors among these children of a raylet, its other workers, and what each has started."""
    lives: dict[str, Life] = {}
    for pid in pids:
        name = names.get(pid) or read_command(pid)[:40] or "Ray's process"
        _add(lives, f"{name} (pid {pid})", pid, counts_runs=pid in names)
        for child in list_descendants(pid):
            # Only a stop counts: what an actor has started may sleep for as long as it likes.
            _add(lives, f"a process of {name} (pid {child}, {read_command(child)[:40]})", child, counts_runs=False)
    return lives


def read_command(pid: int) -> str:
    """Return the command line of a process; "" if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _add(lives: dict[str, Life], name: str, pid: int, counts_runs: bool) -> None:
    if life := read_life(pid, counts_runs):
        lives[name] = life


def _count_runs(pid: int) -> int | None:
    """Return how often the threads of a process have got a core; None where the kernel does not count."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError):  # a thread that has just ended
                total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[2])
    except (OSError, IndexError, ValueError):
        return None
    return total or None  # every process has run: at 0 nothing is counted
