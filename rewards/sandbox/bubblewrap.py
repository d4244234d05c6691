"""Starts and ends a Python interpreter in bubblewrap: no network, a read-only system without homes, /proc or
environment, and a private /tmp.

A filter of system calls (`rewards.sandbox.seccomp`) allows a program only one process and only resources that are
limited.
"""

from __future__ import annotations

import math
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rewards.sandbox import seccomp

PROGRAM = "bwrap"
"""Name of bubblewrap's command."""
_MEGABYTE = 1 << 20
_INSIDE = Path(__file__).parent / "inside"


@dataclass(frozen=True, slots=True)
class Limits:
    """Resources that a sandboxed program may use."""

    wall_s: float = 8.0
    """Seconds for which it may wait; time in which it works, or has no core, does not count."""
    cpu_s: float = 8.0
    """Seconds of CPU time. Cores differ in speed, and MBPP's slowest program takes 2.5 s."""
    memory_mb: int = 512
    """Address space of its process, in MiB."""
    disk_mb: int = 16
    """Size of /tmp and of any one file, in MiB."""
    files: int = 64
    """Number of files open at once."""
    output_kb: int = 1024
    """Size of its output, in KiB."""
    threads: int = 256
    """Number of its threads."""
    tmp_files: int = 4096
    """Number of files, folders and links in /tmp."""
    locks: int = 256
    """Number of ranges of files that it has locked."""

    @property
    def page_tables_mb(self) -> int:
        """Size of its page tables, in MiB. Densely used memory needs a 512th of its size; memory that is scattered over
        the address space can need twice its size."""
        return 8 + self.memory_mb // 256


@dataclass(slots=True, eq=False)
class SandboxProcess:
    """A running bubblewrap and the program inside it."""

    process: subprocess.Popen[bytes]
    """The bubblewrap outside."""
    info: int
    """Descriptor on which bubblewrap reports the id of the first process inside."""
    _first_pid: int | None = None

    @property
    def first_pid(self) -> int:
        """Id of the first process inside; 0 where bubblewrap died before it had started one."""
        if self._first_pid is None:
            with os.fdopen(self.info, "rb") as file:
                match = re.search(rb'"child-pid"\s*:\s*(\d+)', file.read())
            self._first_pid = int(match[1]) if match else 0
        return self._first_pid

    def end(self) -> str:
        """Kill everything inside; return the error message of bubblewrap itself, "" where it had none."""
        pid = self.first_pid
        if self.process.poll() is None:
            # The first process is init of its namespace: when it dies the kernel kills all others. Bubblewrap itself is
            # spared, to reap it.
            if pid:
                with suppress(ProcessLookupError):  # it has ended, and bubblewrap is about to
                    os.kill(pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        if pid:
            with suppress(ChildProcessError):  # bubblewrap has waited for it
                os.waitpid(pid, 0)
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            error = stderr.read(1000).decode(errors="replace").strip()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        return error


def start(
    code: str,
    limits: Limits,
    program: int | None = None,
    *,
    stdin: socket.socket | None = None,
    inherit: int | None = None,
) -> SandboxProcess:
    """Run `code` in a Python in a sandbox of its own.

    `program` is a descriptor whose file appears as /program.py, `stdin` a socket in place of pipes for input and output,
    and `inherit` a descriptor that stays open in the program.
    """
    info_reader, info_writer = os.pipe()
    filter_reader, filter_writer = os.pipe()
    os.write(filter_writer, seccomp.compile_filter())  # fits into the pipe's buffer: nobody reads it yet
    os.close(filter_writer)
    files = [] if program is None else ["--ro-bind-data", str(program), "/program.py"]
    command = [
        # --new-session: otherwise a program could push input into the terminal (TIOCSTI).
        *(PROGRAM, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *("--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--info-fd", str(info_writer)),  # nobody
        *("--seccomp", str(filter_reader), *_mount_system(), "--dev", "/dev", "--remount-ro", "/dev"),
        *("--ro-bind", str(_INSIDE), "/harness/rewards/sandbox/inside", *files),
        *("--size", str(limits.disk_mb * _MEGABYTE), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"),
        # -I -S: no variables, no site-packages, nothing of the user's
        *(os.path.realpath(sys.executable), "-I", "-S", "-c", _set_limits(limits) + code),
    ]
    descriptors = [fd for fd in (info_writer, filter_reader, program, inherit) if fd is not None]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is None else stdin.fileno(),
            stdout=subprocess.PIPE if stdin is None else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            env={},
            executable=shutil.which(PROGRAM),  # `env` has no PATH to look it up in
        )
    except BaseException:
        os.close(info_reader)
        raise
    finally:  # bubblewrap has its own copies
        os.close(info_writer)
        os.close(filter_reader)
    # A second line of defence behind the deadline, in case this process is stuck. It is set from here, since the
    # program may not set it, before bubblewrap starts the program; and so high that it cannot be reached before the
    # deadline, though the kernel counts in ticks.
    cpu_s = math.ceil(limits.cpu_s + limits.wall_s) + 1
    with suppress(ProcessLookupError):  # it has ended, which shows later
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (cpu_s, cpu_s))
    return SandboxProcess(process, info_reader)


def _set_limits(limits: Limits) -> str:
    """Return code that sets the limits of its process and silences its stderr."""
    bounds = {
        "RLIMIT_AS": limits.memory_mb * _MEGABYTE,
        "RLIMIT_FSIZE": limits.disk_mb * _MEGABYTE,
        "RLIMIT_NOFILE": limits.files,
        "RLIMIT_CORE": 0,
        "RLIMIT_SIGPENDING": 64,
        "RLIMIT_NPROC": limits.threads,  # for root it does not hold: see `rewards.sandbox.kernel`
    }
    lines = ["import os, sys, resource"]
    # bubblewrap shares its stderr with the program: after this only bubblewrap itself can write there.
    lines.append("os.dup2(os.open('/dev/null', os.O_RDWR), 2)")
    lines.append("sys.path.insert(0, '/harness')")
    lines += [f"resource.setrlimit(resource.{name}, ({bound}, {bound}))" for name, bound in bounds.items()]
    return "\n".join(lines) + "\n"


@cache
def _mount_system() -> tuple[str, ...]:
    """Return the options that mount what Python needs, read-only: /usr, the loader, and this interpreter's library."""
    options: list[str] = []
    for path in ("/usr", "/lib", "/lib64", "/lib32", "/bin"):
        if os.path.islink(path):  # as on a merged /usr
            options += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            options += ["--ro-bind", path, path]
    # An interpreter outside /usr. Its library alone, not the whole prefix, which may be a user's home.
    for path in ("/etc/ld.so.cache", f"{sys.base_prefix}/lib", os.path.realpath(sys.executable)):
        if os.path.exists(path) and not path.startswith("/usr/"):
            options += ["--ro-bind", path, path]
    return tuple(options)
