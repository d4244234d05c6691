"""Runs programs that nobody has read, in bubblewrap, under limits on CPU, memory, processes, files, output and time.

They never run outside it: `require` raises where bubblewrap is missing.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

from rewards.deadline import Deadline, Watch
from rewards.sandbox import bubblewrap, seccomp
from rewards.sandbox.bubblewrap import Limits, SandboxProcess
from rewards.sandbox.inside.tests import ENDED
from rewards.sandbox.kernel import KernelWatch

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_CHUNK_BYTES = 1 << 16  # what a pipe holds
_END_S = 5.0  # for bubblewrap to end after its program, on a busy machine
_KILLED = "its program was killed from outside; the machine may be out of memory"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a sandboxed program."""

    output: bytes
    """Output of the program, cut at the limit."""
    status: int
    """Exit status, or minus the number of the signal that ended it."""
    cpu_s: float
    """Seconds of CPU time that it used."""
    idle_s: float
    """Seconds for which it neither worked nor lacked a core, as far as it was watched."""
    stop_reason: str = ""
    """The limit that it exceeded; "" where it ended by itself."""


@dataclass(slots=True, eq=False)
class _Supervision:
    """All limits on a running program that are watched from outside."""

    watch: Watch
    kernel: KernelWatch

    def seconds_to_check(self) -> float:
        """Return the seconds until the next check."""
        return max(0.0, min(self.watch.next_check, self.kernel.next_check) - time.monotonic())

    def check(self) -> str:
        """Return why the program must end, or "" while it may go on."""
        return self.kernel.check() or self.watch.check()


@cache
def find_problem() -> str | None:
    """Return why no program can be sandboxed here, in one line, or None if it can. Runs an empty program once."""
    if platform.system() != "Linux" or platform.machine() not in seccomp.ARCHITECTURES:
        return f"the sandbox runs on Linux with x86-64 or aarch64, not {platform.system()} {platform.machine()}"
    if shutil.which(bubblewrap.PROGRAM) is None:
        return "bubblewrap (bwrap) is not installed; apt-get install bubblewrap"
    limits = Limits(wall_s=60.0)
    with _adopt_orphans():
        outcome, error = _finish(bubblewrap.start("pass", limits), b"", limits)
    if error or outcome.status:
        return f"bubblewrap does not work here: {error or outcome}"
    return None


def require() -> None:
    """Raise ValueError where no program can be sandboxed."""
    problem = find_problem()
    if problem is not None:
        raise ValueError(f"model-written code runs in a sandbox only, and {problem}")


def execute(program: str, stdin: bytes, limits: Limits) -> Outcome:
    """Run a Python program as `__main__` with its input. Raises ValueError without a sandbox, RuntimeError where the
    sandbox fails."""
    require()
    code = "from rewards.sandbox.inside.program import main; main()"
    with _adopt_orphans():
        # Passed as a file, since an argument of a command line is limited to 128 KiB.
        with tempfile.TemporaryFile() as file:
            file.write(program.encode("utf-8", "replace"))
            file.seek(0)
            sandbox = bubblewrap.start(code, limits, file.fileno())
        outcome, error = _finish(sandbox, stdin, limits)
    if error:
        raise RuntimeError(f"the sandbox failed: {error}")
    return outcome


def examine(task: Mapping[str, object], limits: Limits) -> Outcome:
    """Run a candidate's program in one sandbox and its tests in another (`rewards.sandbox.inside`); the output is the
    verdict. Raises ValueError without a sandbox or for a task that is no JSON, RuntimeError where one fails."""
    require()
    try:
        text = json.dumps(task)
    except TypeError as error:
        raise ValueError(f"the tests hold what JSON does not: {error}; write it as a text or a number") from None
    with _adopt_orphans():
        outcome, error = _run_pair(text.encode(), limits)
    if error:
        raise RuntimeError(f"the sandbox failed: {error}")
    return outcome


def _run_pair(task: bytes, limits: Limits) -> tuple[Outcome, str]:
    """Return (outcome of the tests, error message of either bubblewrap, "" for none); `task` is JSON."""
    tests_socket, candidate_socket = socket.socketpair()
    with tests_socket, candidate_socket:
        code = "from rewards.sandbox.inside.candidate import main; main()"
        candidate = bubblewrap.start(code, limits, stdin=candidate_socket)
        try:
            code = f"from rewards.sandbox.inside.tests import main; main({tests_socket.fileno()})"
            tests = bubblewrap.start(code, limits, inherit=tests_socket.fileno())
        except BaseException:
            candidate.end()
            raise
    try:
        outcome, error = _finish(tests, task, limits, candidate)
        if not outcome.stop_reason and ENDED.encode() in outcome.output:
            with suppress(subprocess.TimeoutExpired):
                # The tests saw the candidate's end on the socket; its bubblewrap notices it a moment later.
                status = candidate.process.wait(_END_S)
                if _is_killed(status) and outcome.cpu_s < limits.cpu_s:
                    error = error or _KILLED
    finally:
        candidate_error = candidate.end()
    return outcome, error or candidate_error


@contextmanager
def _adopt_orphans() -> Generator[None]:
    """Make orphaned descendants children of this process during the block."""
    # Bubblewrap leaves the first process of a sandbox behind, and only its parent learns its CPU time, by waiting for it.
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _finish(
    sandbox: SandboxProcess, stdin: bytes, limits: Limits, peer: SandboxProcess | None = None
) -> tuple[Outcome, str]:
    """Feed and read the program until it ends or exceeds a limit; return (outcome, error message of bubblewrap).

    The limits are for the program and the `peer` that it waits for, both together.
    """
    process = sandbox.process
    pids = (process.pid,) if peer is None else (process.pid, peer.process.pid)
    watch, cpu_before_s = Watch(Deadline(limits.cpu_s, limits.wall_s), pids, new_processes=True), _measure_ended_s()
    # Of two programs the peer is the untrusted one: its kernel resources are watched.
    supervision = _Supervision(watch, KernelWatch(pids[-1], limits))
    output, stop_reason = _exchange(process, stdin, supervision, limits.output_kb)
    # A program may close its output and go on.
    while not stop_reason and process.poll() is None:
        try:
            process.wait(supervision.seconds_to_check())
        except subprocess.TimeoutExpired:
            stop_reason = supervision.check()
    error = sandbox.end()
    # Processes that ended by themselves report their CPU time exactly; one that was killed from here may report less
    # than the watch has seen.
    status, cpu_s = process.returncode, max(watch.cpu_s, _measure_ended_s() - cpu_before_s)
    if not stop_reason and _is_killed(status):
        if cpu_s >= limits.cpu_s:  # by the kernel, at RLIMIT_CPU
            stop_reason, _ = watch.deadline.reasons
        else:
            error = error or _KILLED
    return Outcome(output, status, cpu_s, watch.idle_s, stop_reason), error


def _is_killed(status: int) -> bool:
    """Return whether a program that this process did not end was killed from outside, not by itself."""
    # A negative status is a signal to bubblewrap itself, which no program inside can reach.
    return status < 0 or status == seccomp.KILLED_STATUS


def _exchange(
    process: subprocess.Popen[bytes], stdin: bytes, supervision: _Supervision, output_kb: int
) -> tuple[bytes, str]:
    """Write the program's input and read its output at the same time, so that neither side waits for the other; return
    (output, the limit that it exceeded or "")."""
    output, unsent, stop_reason = bytearray(), memoryview(stdin), ""
    assert process.stdin is not None
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        for stream, events in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, events)
        while not stop_reason and process.stdout in selector.get_map():
            for key, _ in selector.select(supervision.seconds_to_check()):
                if key.fileobj is process.stdin:
                    unsent = _write_some(process.stdin.fileno(), unsent)
                    if not unsent:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif piece := os.read(process.stdout.fileno(), _CHUNK_BYTES):
                    output += piece
                else:
                    selector.unregister(process.stdout)
            if process.stdout in selector.get_map():  # not for a program that has ended: then only this process is late
                stop_reason = supervision.check()
            if len(output) > output_kb << 10:
                stop_reason = f"more than {output_kb} kB of output"
    return bytes(output[: output_kb << 10]), stop_reason


def _measure_ended_s() -> float:
    """Return the CPU seconds of the children that this process has waited for, and of theirs."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def _write_some(descriptor: int, data: memoryview) -> memoryview:
    """Write what fits and return the rest, which is empty where nobody reads any more."""
    try:
        return data[os.write(descriptor, data[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]
