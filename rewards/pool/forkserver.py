"""The parent's handle on the process that forks workers (`rewards.pool.worker.nurse`)."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress

from rewards.deadline import descendants
from rewards.pool.worker import Setup

_ANSWER_S = 600.0  # for an answer to `K`, at once as a rule: it may yet be importing, on a busy machine
_GONE_S = 5.0  # to bury its workers and go
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_SET = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_BOOT = """
import pickle, socket, sys
control = socket.socket(fileno=0)
sys.path[:] = pickle.loads(control.recv(1 << 20))
from rewards.pool.worker import nurse
nurse(control)
"""


class Nursery:
    """Starts with a clean environment and without any of the parent's threads or open files."""

    def __init__(self, setup: Setup) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_ANSWER_S)
        self._scratch = tempfile.mkdtemp(prefix="groundtone-verifiers-")
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=kept | _SET | {"TMPDIR": self._scratch},
                start_new_session=True,  # Ctrl-C in the terminal is the parent's business
            )
        for message in (sys.path, setup):
            self._send(pickle.dumps(message))

    def _send(self, message: bytes, *sockets: socket.socket) -> bool:
        try:
            socket.send_fds(self._control, [message], [s.fileno() for s in sockets])
        except OSError:
            return False
        return True

    def fork(self, number: int, channel: socket.socket) -> bool:
        """Ask for worker `number`; False if the nursery is dead."""
        return self._send(b"F %d" % number, channel)

    def kill(self, number: int) -> int | None:
        """Kill and reap worker `number`: its wait status, 0 if it is not one of ours, None if the nursery is dead."""
        try:
            return int(self._control.recv(64)) if self._send(b"K %d" % number) else None
        except (OSError, ValueError):
            return None

    def last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE_S)
        self._process.kill()  # it neither answers nor ends
        assert self._process.stderr is not None
        return (self._process.stderr.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]

    def close(self) -> None:
        """It sees the end of its control socket, buries its workers and goes."""
        self._control.close()
        try:
            self._process.wait(_GONE_S)
        except subprocess.TimeoutExpired:
            for pid in (*descendants(self._process.pid), self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        shutil.rmtree(self._scratch, ignore_errors=True)  # it does so itself unless it was killed


def cause(status: int | None) -> str:
    """Say how a worker ended, from its wait status; None: nobody knows it."""
    if status is None:
        return "the verifier's process was lost with the one that had forked it"
    if os.WIFSIGNALED(status):
        return f"the verifier's process was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the verifier ended its process (exit status {os.WEXITSTATUS(status)})"
