"""Taking turns: each contestant lives in a process of its own and works only when it is told to, so that all are measured
on the same machine in the same minutes, interleaved, each with the whole machine to itself."""

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

Step = dict[str, float]


class Finished(BaseException):
    """The parent wants no more steps."""


class Turns:
    """The child's end: `step` after each step says what it cost, and waits here while it is another one's turn."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")  # what a library prints goes to the log, not between the answers
        os.dup2(2, 1)
        self.steps: list[Step] = []
        self.left = 0

    def wait(self, **facts: Any) -> None:
        """Says that all is ready (or what the turn cost), and waits for the next one. Raises Finished."""
        self.answers.write(json.dumps({"steps": self.steps, **facts}) + "\n")
        self.answers.flush()
        order = sys.stdin.readline().strip()
        if not order:
            raise Finished
        self.left, self.steps, self.last = int(order), [], time.perf_counter()

    def step(self, numbers: Mapping[str, float]) -> None:
        """One step has ended; `numbers` are its phases in seconds and its counts. `wall` is added: all that passed since
        the step before it, so that nothing a step does goes uncounted."""
        now = time.perf_counter()
        self.steps.append({"wall": now - self.last, **numbers})
        self.last, self.left = now, self.left - 1
        if not self.left:
            self.wait()


class Player:
    """The parent's end of one such process. Between its turns it is stopped (SIGSTOP) with all that it started: an idle
    Ray would take a tenth of a core from the others."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name, self.log = name, log
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            # Spinning OpenMP threads are as fast on quiet cores and many times slower on shared ones.
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.facts: dict[str, Any] = {}

    def ready(self) -> Player:
        """Waits until it has loaded."""
        self.facts = self._answer()
        self._signal(signal.SIGSTOP)
        return self

    def turn(self, steps: int) -> list[Step]:
        """What each of so many steps cost: `wall` and phases in seconds; means over the turn: `cpu` in seconds of
        processor time, `others`, how many cores the rest of the machine kept busy meanwhile."""
        return together([self], steps)[0]

    def start(self, steps: int) -> None:
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        self.used, self.busy, self.began = sum(self._used().values()), busy_seconds(), time.perf_counter()
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()

    def finish(self) -> list[Step]:
        steps: list[Step] = self._answer()["steps"]
        used, busy = sum(self._used().values()) - self.used, busy_seconds() - self.busy
        others = max(0.0, busy - used) / (time.perf_counter() - self.began)
        self._signal(signal.SIGSTOP)
        return [{**step, "cpu": used / len(steps), "others": others} for step in steps]

    def close(self) -> None:
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
            raise SystemExit(f"{self.name} ended before its time; the end of {self.log}:\n{tail}")
        return json.loads(line)

    def _used(self) -> dict[int, float]:
        """Seconds of processor time so far of it and of each process that it started."""
        return dict(used_by_tree(self.process.pid))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._used():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def together(players: Sequence[Player], steps: int) -> list[list[Step]]:
    """All of them at the same time."""
    for player in players:
        player.start(steps)
    return [player.finish() for player in players]


class Quiet:
    """Takes turns while nothing else works on the machine: waits for such a moment, and repeats a turn that was
    disturbed, until `patience` seconds have been spent on it; then the least disturbed one counts."""

    def __init__(self, limit: float, patience: float) -> None:
        """`limit`: cores that the rest of the machine may keep busy."""
        self.limit, self.left = limit, patience

    def turn(self, play: Callable[[], list[Step]]) -> list[Step]:
        best: list[Step] = []
        while True:
            began = time.monotonic()
            self._wait()
            steps = play()
            if not best or steps[0]["others"] < best[0]["others"]:
                best = steps
            if best[0]["others"] <= self.limit or self.left <= 0:
                return best
            self.left -= time.monotonic() - began

    def _wait(self) -> None:
        until = time.monotonic() + max(0.0, self.left)
        while time.monotonic() < until:
            busy = busy_seconds()
            time.sleep(1.0)
            if busy_seconds() - busy <= self.limit:
                return


def busy_seconds() -> float:
    """Processor time that all cores have spent working, or have had taken from them, since the machine started."""
    columns = [int(column) for column in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _, _, irq, soft_irq, stolen = columns
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def used_by_tree(root: int) -> Iterator[tuple[int, float]]:
    """(process, seconds of processor time) of `root` and all its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(stat.parent.name)
        children[int(fields[1])].append(pid)
        used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    queue = [root]
    while queue:
        pid = queue.pop()
        queue += children[pid]
        if pid in used:
            yield pid, used[pid]
