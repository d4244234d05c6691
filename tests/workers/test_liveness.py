"""What stands still is told from what works or waits, and named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from rl.workers.liveness import NODE_PATIENCE_S, Life, Watchdog, Watchlist, lives_of_workers, read_life

RUNS, WAITS, STOPPED = Life(False, 1), Life(False, None), Life(True, None)


def first_stuck(lives: list[dict[str, Life]], limit_s: float = 30.0, pause_s: float = 5.0) -> tuple[int, str] | None:
    """(number of the check, what it says), of checks every `pause_s` seconds."""
    watchlist = Watchlist(limit_s)
    for i, seen in enumerate(lives):
        if stuck := watchlist.find_stuck(at(i * pause_s, seen), i * pause_s):
            return i, stuck
    return None


def at(now: float, lives: dict[str, Life]) -> dict[str, Life]:
    return {name: replace(life, read_at=now) for name, life in lives.items()}


def test_what_runs_or_waits_lives() -> None:
    assert first_stuck([{"engine 0": Life(False, i), "verifiers": WAITS} for i in range(100)]) is None


def test_what_is_stopped_is_named_after_its_time() -> None:
    lives = [{"engine 0": Life(False, i), "a rank": RUNS if i < 5 else STOPPED} for i in range(5)]
    lives += [{"engine 0": Life(False, i), "a rank": STOPPED} for i in range(5, 20)]
    assert first_stuck(lives) == (11, "a rank has not run for 30 s: it is stopped (SIGSTOP)")


def test_what_is_frozen_is_named() -> None:
    lives = [{"engine 0": Life(False, min(i, 4)), "a rank": Life(False, i)} for i in range(20)]
    says = "engine 0 has not run for 30 s: it is frozen, or the kernel does not wake it"
    assert first_stuck(lives) == (10, says)


def test_what_goes_on_in_time_is_forgiven() -> None:
    lives = [{"engine 0": STOPPED if i % 6 else Life(False, i)} for i in range(60)]
    assert first_stuck(lives) is None
    assert first_stuck([{"engine 0": STOPPED} if i % 6 else {} for i in range(60)]) is None, "another one each time"


def test_a_pause_of_the_run_itself_is_not_laid_on_others() -> None:
    """As after Ctrl-Z and fg, or a machine that was suspended."""
    watchlist = Watchlist(30.0)
    for now in (0.0, 500.0, 510.0, 520.0, 530.0):
        assert watchlist.find_stuck(at(now, {"engine 0": STOPPED}), now) is None
    assert watchlist.find_stuck(at(540.0, {"engine 0": STOPPED}), 540.0) is not None


@pytest.mark.parametrize("life", [RUNS, STOPPED])
def test_what_a_silent_node_last_said_does_not_grow_old(life: Life) -> None:
    """Only what two of its answers say, each at its time by the node's own clock, makes a standstill."""
    watchlist = Watchlist(30.0)
    for now in range(0, 300, 5):  # no answer since the first
        assert watchlist.find_stuck(at(7000.0, {"engine 1": life}), now) is None
    later = replace(life, runs=life.runs and life.runs + 1, stopped=False)
    assert watchlist.find_stuck(at(7300.0, {"engine 1": later}), 300.0) is None
    assert watchlist.find_stuck(at(7310.0, {"engine 1": life}), 310.0) is None
    assert watchlist.find_stuck(at(7320.0, {"engine 1": life}), 320.0) is None
    stuck = watchlist.find_stuck(at(7345.0, {"engine 1": life}), 325.0)
    assert stuck is not None
    assert stuck.startswith("engine 1 has not run for 35 s")


def test_a_silent_node_has_a_wider_limit() -> None:
    """Wider than Ray's own, who declares it lost first."""
    for limit_s, patience_s in ((6.0, NODE_PATIENCE_S), (1000.0, 1000.0)):
        dog = Watchdog(limit_s, dict, lambda _: None)
        dog.close()
        assert dog.nodes.limit_s == patience_s
    for now in range(0, 1000, 5):
        assert dog.nodes.find_stuck(at(now, {"node 1": Life(False, 3)}), now) is None
    says = "node 1 has not answered for 1000 s: it is frozen, or cut off from the network"
    assert dog.nodes.find_stuck(at(1000.0, {"node 1": Life(False, 3)}), 1000.0) == says


@contextmanager
def python(program: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(pid: int, is_right: object) -> Life:
    assert callable(is_right)
    for _ in range(600):
        if (life := read_life(pid, counts_runs=True)) and is_right(life):
            return life
        time.sleep(0.05)
    raise AssertionError(life)


def test_the_kernel_says_who_runs_and_who_is_stopped() -> None:
    with python("import time\nwhile True: time.sleep(0.01)") as process:
        first = wait_for(process.pid, lambda life: life.runs)
        later = wait_for(process.pid, lambda life: life.runs > (first.runs or 0))
        assert not later.stopped
        process.send_signal(signal.SIGSTOP)
        wait_for(process.pid, lambda life: life.stopped)
        process.send_signal(signal.SIGCONT)
        wait_for(process.pid, lambda life: not life.stopped)
    assert read_life(process.pid, counts_runs=True) is None


def test_a_process_of_an_actor_is_named_by_it() -> None:
    program = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with python(program) as process:
        for _ in range(600):
            lives = lives_of_workers([process.pid], {process.pid: "engine 1"})
            if len(lives) > 1:
                break
            time.sleep(0.05)
        own, child = sorted(lives, key=len)
        assert own == f"engine 1 (pid {process.pid})"
        assert child.startswith("a process of engine 1 (pid ")
        os.kill(int(child.split("pid ")[1].split(",")[0]), signal.SIGKILL)


def test_the_watchdog_reports_once_and_can_be_switched_off() -> None:
    reports: list[str] = []
    heard = threading.Event()

    def report(text: str) -> None:
        reports.append(text)
        heard.set()

    Watchdog(0.3, lambda: {"engine 0": Life(True, None)}, report)
    assert heard.wait(30)
    assert reports[0].startswith("engine 0 has not run for ")
    before = threading.active_count()
    Watchdog(0.0, lambda: pytest.fail("asked"), report).close()
    assert threading.active_count() <= before


def test_a_look_that_fails_does_not_end_the_watch(capsys: pytest.CaptureFixture[str]) -> None:
    looks, reports, heard = list[float](), list[str](), threading.Event()

    def find_lives() -> dict[str, Life]:
        looks.append(time.monotonic())
        if len(looks) in (2, 3):
            raise RuntimeError("no look")
        return {"engine 0": Life(True, None)}

    def report(stuck: str) -> None:
        reports.append(stuck)
        heard.set()

    Watchdog(0.3, find_lives, report)
    assert heard.wait(30)
    assert reports[0].startswith("engine 0 has not run for ")
    warning = "warning: the run's processes could not be looked at: RuntimeError: no look"
    assert "".join(capsys.readouterr()).count(warning) == 1
