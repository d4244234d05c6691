"""Starts the forkserver, the process that forks the workers (`rewards.pool.worker.serve_forks`), and talks to it."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

from rewards.deadline import Watch, list_descendants
from rewards.pool.jobs import START, Worker
from rewards.pool.worker import Setup

_ANSWER_S = 600.0  # for an answer to `K`; usually immediate, but on a busy machine it may still be importing
_EXIT_S = 5.0  # to kill its workers and exit
# Only these variables reach a verifier: others may hold secrets, and a verifier may be anybody's code.
_INHERITED_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
# One thread each: workers run side by side. A fixed hash seed makes the order of sets repeatable.
_FIXED_VARIABLES = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_BOOT = """
import pickle, socket, sys
control = socket.socket(fileno=0)
sys.path[:] = pickle.loads(control.recv(1 << 20))
from rewards.pool.worker import serve_forks
serve_forks(control)
"""


class ForkServer:
    """A process that forks and kills workers on request. It starts with a clean environment and with none of the
    parent's threads or open files."""

    def __init__(self, setup: Setup) -> None:
        # SOCK_SEQPACKET: datagrams keep their order and boundaries, and end-of-file comes when the other side dies.
        self._control, child_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_ANSWER_S)
        self._scratch = tempfile.mkdtemp(prefix="groundtone-verifiers-")
        environment = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
        with child_socket:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT],
                stdin=child_socket.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment | _FIXED_VARIABLES | {"TMPDIR": self._scratch},
                start_new_session=True,  # Ctrl-C in the terminal must reach the parent alone
            )
        self.sentinel = os.pidfd_open(self._process.pid)
        """Descriptor that becomes readable when the process ends."""
        for message in (sys.path, setup):
            self._send(pickle.dumps(message))

    def _send(self, message: bytes, *sockets: socket.socket) -> bool:
        """Send a message with the descriptors of `sockets`; return False if the forkserver takes no more."""
        try:
            socket.send_fds(self._control, [message], [s.fileno() for s in sockets])
        except OSError:
            return False
        return True

    def fork(self, number: int) -> Worker | None:
        """Ask for worker `number`; return None if the forkserver is dead."""
        channel, child_channel = socket.socketpair()
        channel.settimeout(START.wall_s)  # a worker that reads nothing must not block the pool's thread for ever
        with child_channel:
            if not self._send(b"F %d" % number, child_channel):
                channel.close()
                return None
        # The process id is not known yet, so only the clock can be watched.
        return Worker(number, channel, time.monotonic(), Watch(START, (), new_processes=False))

    def kill(self, number: int) -> int | None:
        """Kill and reap worker `number`; return its wait status, 0 if there is no such worker, None if the forkserver is
        dead."""
        try:
            return int(self._control.recv(64)) if self._send(b"K %d" % number) else None
        except (OSError, ValueError):
            return None

    def read_last_error(self) -> str:
        """Return the last line that the dying forkserver wrote on stderr. Kills it if it does not exit by itself."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_S)
        self._process.kill()  # otherwise `read` below would wait for ever for one that neither answers nor exits
        assert self._process.stderr is not None
        return (self._process.stderr.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]

    def close(self) -> None:
        """End the forkserver and its workers."""
        self._control.close()  # it reads the end of its socket, kills its workers and exits
        os.close(self.sentinel)
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            for pid in (*list_descendants(self._process.pid), self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        shutil.rmtree(self._scratch, ignore_errors=True)  # still there only if the forkserver was killed


def describe_exit(status: int | None) -> str:
    """Return how a worker ended, from its wait status; None stands for a status that is unknown."""
    if status is None:
        return "the verifier's process was lost with the one that had forked it"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        names = {known.value: known.name for known in signal.Signals}  # most signals of real time have none
        return f"the verifier's process was ended by {names.get(number, f'signal {number}')}"
    return f"the verifier ended its process (exit status {os.WEXITSTATUS(status)})"
