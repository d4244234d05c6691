"""Runs the child side of the pool: the forkserver and its workers.

The forkserver, a process without threads that has imported the verifiers' libraries, forks the workers (5 ms each,
where a fresh interpreter with sympy takes 400 ms). A worker handles one sample at a time. What it does with a sample is
the pool's `Work`: to judge it, or to answer what a model has written.

Wire protocol:
- pool -> forkserver, one datagram each: `sys.path`, the `Setup`, then `F n` with the socket of worker n attached, or
  `K n`: kill worker n and all that it started, answered with its wait status.
- pool -> worker: HEAD (ticket, length) and a pickle of (calls, rollout).
- worker -> pool: lines of JSON, first `{"pid": …}` and `{"ready": …}`, then
  `[ticket, call, answer, last]` for each call, with call -1 for a sample that could not be unpickled and `last` true from a
  worker that exits. JSON, because whatever runs in a worker must not reach into the parent.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import importlib
import io
import json
import os
import pickle
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rewards.contract import describe_memory_error
from rewards.deadline import list_children
from rewards.pool.work import Call, Work

HEAD = struct.Struct("<QI")
"""Header of a sample on the wire: ticket, length of the pickle in bytes."""
CASE_MARK = "\x1ecase "
"""Beginning of the line before the output of a verifier about a prompt; the prompt's id follows. It has a record
separator, which verifiers hardly print."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_MEGABYTE = 1 << 20
_SWEEP_S = 1.0  # between two checks for orphans that have ended


@dataclass(frozen=True, slots=True)
class Setup:
    """Verifiers and limits of a worker, the same for all workers of a pool."""

    work: Work
    """Work that is done on a sample."""
    calls: tuple[Call, ...]
    """The verifiers to load; messages name them by their index here."""
    folder: Path | None
    """The recipe's folder, where a user's verifiers lie."""
    memory_mb: int
    """Memory that a worker may map beyond what its libraries take."""
    output: Path | None = None
    """Folder for the verifiers' output, a file for each worker; None: it is discarded."""


def serve_forks(control: socket.socket) -> None:
    """Fork and kill workers as the parent asks, until it closes its end of `control` or dies."""
    setup: Setup = pickle.loads(control.recv(_MEGABYTE))
    # Processes that outlive the worker that started them become children of this one, where `_kill_worker` finds them.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for module in ("numpy", *setup.work.modules(setup.calls)):
        importlib.import_module(module)
    # Otherwise a worker's first garbage collection would write to, and so copy, every page that it shares with this
    # process.
    gc.freeze()
    workers: dict[str, int] = {}  # number -> process id
    while True:
        while not select.select([control], [], [], _SWEEP_S)[0]:
            _reap_orphans(workers)
        message, sockets, _, _ = socket.recv_fds(control, 64, 1)
        command, _, number = message.decode().partition(" ")
        if command == "F":
            forkserver_pid, pid = os.getpid(), os.fork()
            if pid == 0:
                try:
                    control.close()
                    _run_worker(socket.socket(fileno=sockets[0]), setup, forkserver_pid, number)
                finally:
                    os._exit(1)  # a child must never return into the forkserver's loop, whatever happened
            os.close(sockets[0])
            workers[number] = pid
        elif command == "K":
            status = _kill_worker(workers.pop(number, 0), workers)
            shutil.rmtree(_scratch_folder(number), ignore_errors=True)
            control.send(str(status).encode())
        else:  # an empty message: the parent has closed its end
            break
    for number in list(workers):
        _kill_worker(workers.pop(number), workers)
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)


def _scratch_folder(number: str) -> str:
    """Return a worker's folder for temporary files, which is deleted with it."""
    return os.path.join(tempfile.gettempdir(), number)


def _kill_worker(pid: int, workers: Mapping[str, int]) -> int:
    """Kill a worker, its process group and whatever has escaped from it; return its wait status (0 for `pid` 0).
    `workers` holds the others, which live on."""
    status = 0
    if pid:
        # Only this function waits for workers, so the id of a dead one cannot have passed to another process.
        for kill in (os.kill, os.killpg):  # the group may not exist yet
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    living = set(workers.values())
    # A child that is no worker and not in the session of a living one was left behind by a dead one. When it is killed,
    # its own children become ours: repeat until there are none.
    while orphans := [
        child for child in list_children(os.getpid()) if child not in living and os.getsid(child) not in living
    ]:
        for child in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return status


def _reap_orphans(workers: Mapping[str, int]) -> None:
    """Reap ended children that are no workers: bubblewrap leaves the first process of a sandbox to its ancestors."""
    for child in set(list_children(os.getpid())) - set(workers.values()):
        os.waitpid(child, os.WNOHANG)


def _run_worker(channel: socket.socket, setup: Setup, forkserver_pid: int, number: str) -> None:
    """Load the verifiers and judge samples until the pool closes the channel."""
    os.environ["TMPDIR"] = tempfile.tempdir = _scratch_folder(number)
    os.mkdir(tempfile.tempdir)
    channel.set_inheritable(False)  # received descriptors survive exec by default
    os.setsid()  # a process group of its own, so that a SIGKILL reaches everything that a verifier has started
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # die with the forkserver, whatever kills it
    if os.getppid() != forkserver_pid:  # it died before prctl took effect
        return
    null = os.open(os.devnull, os.O_RDWR)
    output = null  # what a verifier prints belongs neither in the protocol nor on the user's screen
    if setup.output:
        output = os.open(setup.output / number, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream, target in enumerate((null, output, output)):
        os.dup2(target, stream)
    for stream in (sys.stdout, sys.stderr):  # by lines, since a killed worker loses what is still in its buffers
        cast(io.TextIOWrapper, stream).reconfigure(line_buffering=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are ordinary here: no core dumps
    # Sent before any user's code runs: the pool measures the CPU time of the process named here, and a verifier must
    # not be able to name another.
    _send(channel, {"pid": os.getpid()})
    loaded: list[object] = []
    for call in setup.calls:
        try:
            loaded.append(setup.work.load(call, setup.folder))
        except BaseException as error:  # isolation boundary: a user's module
            text = f"{setup.work.noun} '{call.verifier}' cannot be loaded: {type(error).__name__}: {error}"
            _send(channel, {"failed": text})
            return
    _limit_memory(setup.memory_mb)
    _send(channel, {"ready": True, "gold": setup.work.describe(loaded)})
    inbox = channel.makefile("rb")
    while head := inbox.read(HEAD.size):
        ticket, length = HEAD.unpack(head)
        _judge(channel, ticket, inbox.read(length), setup, loaded, output)


def _limit_memory(memory_mb: int) -> None:
    """Limit what this process may map beyond what it has mapped so far."""
    # RLIMIT_AS counts address space, of which imported libraries reserve gigabytes without using them: so it is raised
    # by what is mapped already.
    libraries = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = libraries + memory_mb * _MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _judge(channel: socket.socket, ticket: int, body: bytes, setup: Setup, loaded: list[object], output: int) -> None:
    """Judge one sample by each of its calls and send the verdicts, one line each. `output` is where verifiers print."""
    work = setup.work
    try:
        calls, sample = cast(tuple[tuple[int, ...], object], pickle.loads(body))
    except Exception as error:  # isolation boundary: a user's class among the prompt's fields
        text = f"the prompt cannot be read: {type(error).__name__}: {error}"
        _send(channel, [ticket, -1, work.refuse(text), False])
        return
    for call in calls:
        if setup.output:
            prompt = work.prompt_id(loaded[call], sample)
            with contextlib.suppress(OSError):  # a full disk costs the output and no verdict
                os.write(output, f"\n{CASE_MARK}{prompt}\n".encode("utf-8", "replace"))
        try:
            # Copied, since a user's code may change them, and the next sample must not see that.
            args = copy.deepcopy(setup.calls[call].args)
            answer = work.answer(loaded[call], args, sample)
        except MemoryError:
            _send(channel, [ticket, call, work.refuse(describe_memory_error(setup.memory_mb)), True])
            os._exit(0)  # in this worker's fragmented heap the next sample might fail too, without fault
        except BaseException as error:  # isolation boundary: also sys.exit
            answer = work.refuse(f"{type(error).__name__}: {error}")
        if setup.output:
            with contextlib.suppress(Exception):  # isolation boundary: it may have closed or replaced them
                sys.stdout.flush()
                sys.stderr.flush()
        _send(channel, [ticket, call, answer, False])


def _send(channel: socket.socket, message: object) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")
