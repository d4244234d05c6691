"""A verifier of a user's own that does what a sample's text tells it to."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time

from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, scale: float = 1.0) -> Verdict | None:
    deed, _, argument = rollout.text.partition(" ")
    if deed == "loop":
        while True:
            pass
    elif deed == "delegate":
        subprocess.run([sys.executable, "-c", "while True: pass"])
    elif deed == "sleep":
        time.sleep(float(argument))
    elif deed == "await":
        while not os.path.exists(argument):
            time.sleep(0.01)
    elif deed == "exit":
        sys.exit(3)
    elif deed == "os._exit":
        os._exit(4)
    elif deed == "signal":
        os.kill(os.getpid(), int(argument))
    elif deed == "segfault":
        ctypes.string_at(0)
    elif deed == "memory":
        keep = []
        while True:
            keep.append(bytearray(16 << 20))
    elif deed == "raise":
        raise RuntimeError(argument)
    elif deed == "recurse":
        return verify(prompt, rollout)
    elif deed == "print":
        print('[1, 0, 1.0, {}, null, ""]\n' * 2000, flush=True)
        os.write(2, b"x" * 100_000)
    elif deed == "child":  # one in our process group, one that has left it, both outliving the call
        children = [subprocess.Popen(["sleep", argument]), subprocess.Popen(["setsid", "sleep", argument])]
        if prompt.answer is not None:
            with open(prompt.answer, "w") as pids:
                pids.write(f"{os.getpid()} " + " ".join(str(child.pid) for child in children))
        time.sleep(60)
    elif deed == "stray":
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, argument.encode() + b"\n")
            except OSError:
                continue
        if prompt.answer is not None:
            open(prompt.answer, "w").close()
    elif deed == "orphan":
        subprocess.run(["sh", "-c", f"sleep 0.1 & echo $! > {argument}"], check=True)
    elif deed == "litter":
        with tempfile.NamedTemporaryFile(prefix=argument, delete=False):
            os._exit(5)
    elif deed == "parent":
        os.kill(os.getppid(), 9)
        time.sleep(60)
    elif deed == "none":
        return None
    elif deed == "score":
        return Verdict(score=float(argument))
    elif deed == "part":
        return Verdict(score=1.0, parts={"tone": float(argument)})
    elif deed == "environment":
        return Verdict(score=float(argument in os.environ))
    elif deed == "pid":
        return Verdict(score=1.0, reason=str(os.getpid()))
    return Verdict(score=0.5 * scale)


def wants(prompt: Prompt, rollout: Rollout, threshold: float, *, strict: bool = False) -> Verdict:
    return Verdict(score=float(threshold > 0 and strict))


def alone(prompt: Prompt) -> Verdict:
    return Verdict(score=1.0)


number = 3
