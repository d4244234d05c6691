"""How a command ends: after a signal, and after a failure that another thread has found."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

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


RECOVER = """
import hashlib, os, signal, sys, threading, time
from rl import signals
signals.install_handlers()
signals.GRACE_S = 3.0

def clean_up():
    try:
        time.sleep(600)  # for what will never come
    finally:
        print("cleaned", flush=True)

for number in range(2):
    threading.Timer(0.3, lambda: signals.fail("Ray's GCS has died")).start()
    try:
        try:
            time.sleep(60)
        finally:
            clean_up()
    except KeyboardInterrupt:
        print(signals.take_failure(), signals.is_ending(), flush=True)
        signals.recover()
time.sleep(4)
print("on", signals.is_ending(), flush=True)
if len(sys.argv) > 1:
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # in C, for minutes
"""


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["then SIGTERM"], 143)])
def test_a_command_recovers_from_a_failure_as_often_as_it_takes_one(arguments: list[str], code: int) -> None:
    """Also out of a clean-up that waits for ever; and it can still be ended afterwards, in the midst of C code too."""
    process = subprocess.run([sys.executable, "-c", RECOVER, *arguments], capture_output=True, text=True, timeout=120)
    assert process.returncode == code, process.stderr
    assert process.stdout == "cleaned\nRay's GCS has died True\n" * 2 + "on False\n"
