"""Gives the contestants of a benchmark turns: each is a process that works only in its turn.

So all are measured on the same machine in the same minutes, interleaved, each with the whole machine to itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

Step = dict[str, Any]
"""Costs and counts of a step: numbers, and what a contestant adds of its own."""


class NoMoreTurns(BaseException):
    """Raised in a contestant when the parent wants no more steps."""


class Turns:
    """The contestant's end of the pipe: it calls `step` after each step, which blocks while others have their turn."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")  # prints of a library go to the log, not between the answers
        os.dup2(2, 1)
        self.steps: list[Step] = []
        self.remaining = 0

    def wait(self, **facts: Any) -> None:
        """Report that all is loaded, or the steps of the turn, and wait for the next turn. Raises NoMoreTurns."""
        self.answers.write(json.dumps({"steps": self.steps, **facts}) + "\n")
        self.answers.flush()
        order = sys.stdin.readline().strip()
        if not order:
            raise NoMoreTurns
        self.remaining, self.steps, self.last = int(order), [], time.perf_counter()

    def step(self, numbers: Mapping[str, Any]) -> None:
        """Record a finished step; `numbers` are its phases in seconds and its counts.

        `wall` is added: all seconds since the step before it, so that nothing that a step does goes uncounted.
        """
        now = time.perf_counter()
        self.steps.append({"wall": now - self.last, **numbers})
        self.last, self.remaining = now, self.remaining - 1
        if not self.remaining:
            self.wait()


class Player:
    """A contestant, seen from the parent.

    Between its turns it is stopped (SIGSTOP) with all that it started: an idle Ray would take a tenth of a core.
    """

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name, self.log = name, log
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            # OpenMP threads must not spin: that is no faster on quiet cores and many times slower on shared ones.
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.facts: dict[str, Any] = {}

    def ready(self) -> Player:
        """Wait until the process has loaded, and stop it."""
        self.facts = self._answer()
        self._signal(signal.SIGSTOP)
        return self

    def turn(self, steps: int) -> list[Step]:
        """Run `steps` steps and return the cost of each: `wall` and phases in seconds; and as means over the turn, `cpu`
        in seconds of processor time, and `others`, the number of cores that the rest of the machine kept busy."""
        return play_together([self], steps)[0]

    def start(self, steps: int) -> None:
        """Let the process run `steps` steps; `finish` waits for them."""
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        self.cpu_start, self.busy_start, self.start_time = self._cpu_total(), busy_seconds(), time.perf_counter()
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()

    def finish(self) -> list[Step]:
        """Wait for the end of the turn and return its steps."""
        steps: list[Step] = self._answer()["steps"]
        cpu, busy = self._cpu_total() - self.cpu_start, busy_seconds() - self.busy_start
        others = max(0.0, busy - cpu) / (time.perf_counter() - self.start_time)
        self._signal(signal.SIGSTOP)
        return [{**step, "cpu": cpu / len(steps), "others": others} for step in steps]

    def close(self) -> None:
        """End the process, by force if it does not end within a minute."""
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text().splitlines()[-15:])
            raise SystemExit(f"{self.name} ended too early; the last lines of {self.log}:\n{tail}")
        return json.loads(line)

    def _cpu_total(self) -> float:
        return sum(seconds for _, seconds in cpu_seconds_of_tree(self.process.pid))

    def _signal(self, number: signal.Signals) -> None:
        for pid in dict(cpu_seconds_of_tree(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def play_together(players: Sequence[Player], steps: int) -> list[list[Step]]:
    """Run all players at the same time; return the steps of each."""
    for player in players:
        player.start(steps)
    return [player.finish() for player in players]


class Quiet:
    """A referee that runs turns while nothing else works on the machine.

    It waits for such a moment and repeats a turn that was disturbed, until `patience` seconds have been spent on
    waiting and repeating; then the least disturbed turn counts.
    """

    def __init__(self, limit: float, patience: float) -> None:
        """Allow the rest of the machine to keep `limit` cores busy."""
        self.limit, self.patience = limit, patience

    def turn(self, play: Callable[[], list[Step]]) -> list[Step]:
        """Return the steps of `play`, or of its least disturbed repetition."""
        best: list[Step] = []
        while True:
            began = time.monotonic()
            self._wait()
            steps = play()
            if not best or steps[0]["others"] < best[0]["others"]:
                best = steps
            if best[0]["others"] <= self.limit or self.patience <= 0:
                return best
            self.patience -= time.monotonic() - began

    def _wait(self) -> None:
        until = time.monotonic() + max(0.0, self.patience)
        while time.monotonic() < until:
            busy = busy_seconds()
            time.sleep(1.0)
            if busy_seconds() - busy <= self.limit:
                return


def busy_seconds() -> float:
    """Return the seconds that all cores together have worked, or were taken by the hypervisor, since the machine started."""
    columns = [int(column) for column in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _, _, irq, soft_irq, stolen = columns
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_tree(root: int) -> Iterator[tuple[int, float]]:
    """Yield (process id, seconds of processor time) of `root` and of all its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    seconds: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue
        pid = int(stat.parent.name)
        children[int(fields[1])].append(pid)
        seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    queue = [root]
    while queue:
        pid = queue.pop()
        queue += children[pid]
        if pid in seconds:
            yield pid, seconds[pid]
