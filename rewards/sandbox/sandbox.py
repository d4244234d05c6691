"""Programs that nobody has read, in bubblewrap: no network, a read-only system without homes, /proc or environment, a
private /tmp, and limits on CPU, memory, processes, files, output and time. Never without it: `require` says why not.

A filter of system calls (`rewards.sandbox.seccomp`) keeps a program to one process: RLIMIT_NPROC does not bind root.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import platform
import re
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rewards.deadline import Deadline, Watch
from rewards.sandbox import seccomp

_MEGABYTE = 1 << 20
_PROGRAM = "bwrap"
_INSIDE = Path(__file__).parent / "inside"
_SUBREAPER = 36  # prctl(2)


@dataclass(frozen=True, slots=True)
class Limits:
    wall_s: float = 8.0
    """For what waits: time in which it works, or has no core, is not counted."""
    cpu_s: float = 8.0
    """For what works. How much a core does in a second differs by much, and MBPP's slowest takes 2.5."""
    memory_mb: int = 512
    disk_mb: int = 16
    """Size of /tmp, and of any one file."""
    files: int = 64
    """Open at once."""
    output_kb: int = 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    output: bytes
    status: int
    """Exit status; minus the signal's number where one ended it."""
    cpu_s: float
    waited_s: float
    """For how long it was seen neither to work nor to lack a core."""
    stopped: str = ""
    """What limit ended it; empty where it ended by itself."""


@cache
def refusal() -> str | None:
    """Why nothing can be run here, in one line; None where it can."""
    if platform.system() != "Linux" or platform.machine() not in seccomp.ARCHITECTURES:
        return f"the sandbox runs on Linux with x86-64 or aarch64, not {platform.system()} {platform.machine()}"
    if shutil.which(_PROGRAM) is None:
        return "bubblewrap (bwrap) is not installed; apt-get install bubblewrap"
    with _adopting():
        outcome, complaint = _finish(_start("pass", Limits(wall_s=60.0)), b"", Limits(wall_s=60.0))
    if complaint or outcome.status:
        return f"bubblewrap does not work here: {complaint or outcome}"
    return None


def require() -> None:
    """Raises ValueError where there is no sandbox."""
    reason = refusal()
    if reason is not None:
        raise ValueError(f"model-written code runs in a sandbox only, and {reason}")


def execute(program: str, stdin: bytes, limits: Limits) -> Outcome:
    """Run a Python program as `__main__` with its input; its output is cut at the limit. Raises ValueError without a
    sandbox, RuntimeError where the sandbox fails."""
    require()
    boot = "exec(compile(open('/program.py').read(), 'program.py', 'exec'), vars(sys.modules['__main__']))"
    with _adopting():
        with tempfile.TemporaryFile() as file:
            file.write(program.encode("utf-8", "replace"))
            file.seek(0)
            started = _start(boot, limits, file.fileno())
        outcome, complaint = _finish(started, stdin, limits)
    if complaint:
        raise RuntimeError(f"the sandbox failed: {complaint}")
    return outcome


def examine(task: Mapping[str, object], limits: Limits) -> Outcome:
    """Run a candidate's program in one sandbox and its tests in another (`rewards.sandbox.inside`); the output is the verdict.
    Raises ValueError without a sandbox, RuntimeError where one fails."""
    require()
    with _adopting():
        outcome, complaint = _examine(task, limits)
    if complaint:
        raise RuntimeError(f"the sandbox failed: {complaint}")
    return outcome


def _examine(task: Mapping[str, object], limits: Limits) -> tuple[Outcome, str]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        boot = "from rewards.sandbox.inside.candidate import main; main()"
        candidate = _start(boot, limits, stdin=theirs)
        try:
            boot = f"from rewards.sandbox.inside.tests import main; main({ours.fileno()})"
            tests = _start(boot, limits, keep=ours.fileno())
        except BaseException:
            candidate.end()
            raise
    try:
        outcome, complaint = _finish(tests, json.dumps(task).encode(), limits, candidate)
    finally:
        complaint_too = candidate.end()
    return outcome, complaint or complaint_too


@contextmanager
def _adopting() -> Generator[None]:
    """While it lasts, processes below that lose their parent become children of this one. Bubblewrap leaves the first
    process of a sandbox behind: whoever waits for it is told the CPU time of the program."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(_SUBREAPER, 0)


@dataclass(slots=True, eq=False)
class _Started:
    process: subprocess.Popen[bytes]
    info: int
    """Where bubblewrap writes the id of the first process inside."""
    _inside: int | None = None

    @property
    def inside(self) -> int:
        """Id of the first process inside; 0 where bubblewrap has died before it had one."""
        if self._inside is None:
            with os.fdopen(self.info, "rb") as file:
                found = re.search(rb'"child-pid"\s*:\s*(\d+)', file.read())
            self._inside = int(found[1]) if found else 0
        return self._inside

    def end(self) -> str:
        """Kill everything in it; what bubblewrap had to complain of."""
        inside = self.inside
        if self.process.poll() is None:
            # The first process inside takes all others along, and bubblewrap stays to reap it.
            os.kill(inside, signal.SIGKILL) if inside else self.process.kill()
        self.process.wait()
        with suppress(ChildProcessError):  # bubblewrap has waited for it
            os.waitpid(inside, 0) if inside else None
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            complaint = stderr.read(1000).decode(errors="replace").strip()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        return complaint


def _start(
    boot: str,
    limits: Limits,
    program: int | None = None,
    *,
    stdin: socket.socket | None = None,
    keep: int | None = None,
) -> _Started:
    """A Python in a sandbox of its own that runs `boot`; with `program`, a file to find at /program.py, and `keep`, a
    descriptor that stays open."""
    read, write = os.pipe()
    filter_read, filter_write = os.pipe()
    os.write(filter_write, seccomp.program())
    os.close(filter_write)
    shown = [] if program is None else ["--ro-bind-data", str(program), "/program.py"]
    command = [
        *(_PROGRAM, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *("--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--info-fd", str(write)),
        *("--seccomp", str(filter_read), *_system(), "--dev", "/dev", "--remount-ro", "/dev"),
        *("--ro-bind", str(_INSIDE), "/exam/rewards/sandbox/inside", *shown),
        *("--size", str(limits.disk_mb * _MEGABYTE), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"),
        *(os.path.realpath(sys.executable), "-I", "-S", "-c", _boot(limits) + boot),
    ]
    kept = [fd for fd in (write, filter_read, program, keep) if fd is not None]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is None else stdin.fileno(),
            stdout=subprocess.PIPE if stdin is None else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=kept,
            env={},
            executable=shutil.which(_PROGRAM),
        )
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
        os.close(filter_read)
    return _Started(process, read)


def _boot(limits: Limits) -> str:
    """The limits of one process; then only the sandbox itself can complain on stderr, since nothing else has it."""
    bounds = {
        "RLIMIT_AS": limits.memory_mb * _MEGABYTE,
        "RLIMIT_CPU": math.ceil(limits.cpu_s) + 1,  # should nobody look
        "RLIMIT_FSIZE": limits.disk_mb * _MEGABYTE,
        "RLIMIT_NOFILE": limits.files,
        "RLIMIT_CORE": 0,
    }
    lines = ["import os, sys, resource", "os.dup2(os.open('/dev/null', os.O_RDWR), 2)", "sys.path.insert(0, '/exam')"]
    lines += [f"resource.setrlimit(resource.{name}, ({most}, {most}))" for name, most in bounds.items()]
    return "\n".join(lines) + "\n"


@cache
def _system() -> tuple[str, ...]:
    """What there is to read: /usr, the loader, and this interpreter's library without installed packages' homes."""
    shown: list[str] = []
    for path in ("/usr", "/lib", "/lib64", "/lib32", "/bin"):
        if os.path.islink(path):
            shown += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            shown += ["--ro-bind", path, path]
    for path in ("/etc/ld.so.cache", f"{sys.base_prefix}/lib", os.path.realpath(sys.executable)):
        if os.path.exists(path) and not path.startswith("/usr/"):
            shown += ["--ro-bind", path, path]
    return tuple(shown)


def _finish(started: _Started, stdin: bytes, limits: Limits, beside: _Started | None = None) -> tuple[Outcome, str]:
    """Feed it, read it until it ends or must be ended; how it went, and what bubblewrap had to complain of. The limits
    are for it and the one beside that it waits for together."""
    pids = tuple(program.process.pid for program in (started, beside) if program is not None)
    watch, cpu_before_s = Watch(Deadline(limits.cpu_s, limits.wall_s), pids, fresh=True), _cpu_of_ended_s()
    most = limits.output_kb << 10
    process, output, unsent, stopped = started.process, bytearray(), memoryview(stdin), ""
    assert process.stdin is not None
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        for stream, events in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, events)
        while not stopped and process.stdout in selector.get_map():
            for key, _ in selector.select(watch.left_s()):
                if key.fileobj is process.stdin:
                    unsent = _feed(process.stdin.fileno(), unsent)
                    if not unsent:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif piece := os.read(process.stdout.fileno(), 1 << 16):
                    output += piece
                else:
                    selector.unregister(process.stdout)
            if process.stdout in selector.get_map():  # what has ended is not late: we may be
                stopped = watch.missed()
            stopped = f"more than {limits.output_kb} kB of output" if len(output) > most else stopped
    while not stopped and process.poll() is None:
        try:
            process.wait(watch.left_s())
        except subprocess.TimeoutExpired:
            stopped = watch.missed()
    complaint = started.end()
    status, cpu_s = process.returncode, max(watch.worked_s, _cpu_of_ended_s() - cpu_before_s)  # less where we killed it
    if status == 128 + signal.SIGKILL and not stopped:  # bubblewrap's way to say so; only the system kills in there
        stopped = watch.deadline.reasons[0] if cpu_s >= limits.cpu_s else "killed: the machine may be out of memory"
    return Outcome(bytes(output[:most]), status, cpu_s, watch.waited_s, stopped), complaint


def _cpu_of_ended_s() -> float:
    """CPU time of what this process has started and waited for, and of what that has."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def _feed(descriptor: int, data: memoryview) -> memoryview:
    """Write what fits; what is left, which is nothing when nobody reads."""
    try:
        return data[os.write(descriptor, data[: 1 << 16]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]
