"""How a command ends: after a signal, and after a failure that another thread has found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

CALL = """
import os, signal, sys, threading, time
from rl import signals
signals.GRACE_S = 100.0
signals.install_handlers()
import ray
from rl.workers.ray_start import start_local_ray
start_local_ray(1)

@ray.remote(num_cpus=0)
class Actor:
    def fail(self, seconds):
        time.sleep(seconds)
        raise KeyError("its folder is gone")

actor = Actor.remote()
ray.get(actor.__ray_ready__.remote())
call = actor.fail.remote(1)  # as of a checkpoint that is written when the signal comes
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(10)  # nobody reads the call; Ray reports one that has failed so after five seconds
    code = signals.say_interrupted("interrupted; go on")
signals.kill_and_exit(code)
"""
FAIL = """
import sys, threading, time, hashlib
from rl import signals
signals.install_handlers()
signals.GRACE_S = 1.0

def work():
    if {stuck}:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # in C, for minutes
    time.sleep(60)

threading.Timer(0.5, lambda: signals.fail("engine 0 has not run for 30 s")).start()
try:
    work()
except KeyboardInterrupt:
    signals.claim_last_line()
    print("error:", signals.take_failure(), file=sys.stderr, flush=True)
    signals.kill_and_exit(2)
"""


def test_a_call_that_nobody_waits_for_says_nothing_after_a_signal() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_IGNORE_UNHANDLED_ERRORS"}
    done = subprocess.run([sys.executable, "-c", CALL], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted; go on\n"


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_failure_of_another_thread_ends_the_command(stuck: bool, ignored: bool) -> None:
    """Also in the midst of C code that does not return, and where a shell has had Ctrl-C ignored."""
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    done = subprocess.run(
        [sys.executable, "-c", FAIL.format(stuck=stuck)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    assert (done.returncode, done.stderr) == (2, "error: engine 0 has not run for 30 s\n")
