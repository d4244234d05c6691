"""The child side of the pool. A nursery, a process without threads that has imported the verifiers' libraries, forks
the workers (5 ms each, where a fresh interpreter with sympy takes 400); a worker judges one sample at a time.

Wire: pool -> nursery, one datagram each: `sys.path`, the set-up, then `F n` with the socket of worker n attached, or `K n`:
kill worker n and all that it started, answered with its wait status. pool -> worker: HEAD (ticket, length) and a pickle
of (calls, rollout). worker -> pool: lines of JSON, first `{"pid": …}` and `{"ready": …}`, then `[ticket, call, score, parts, error, reason, read, last]` for each call,
with call -1 for a sample that could not be read and `last` true from a worker that ends. JSON, because whatever runs in a worker must not reach into the parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pickle
import resource
import select
import shutil
import signal
import socket
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rewards import resolve
from rewards.contract import Case, error_to_wire, to_wire
from rewards.deadline import children
from rl.types import Rollout

HEAD = struct.Struct("<QI")
_PDEATHSIG, _SUBREAPER = 1, 36  # prctl(2)
_MEGABYTE = 1 << 20
_SWEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """A verifier with its arguments."""

    verifier: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    calls: tuple[Call, ...]
    folder: Path | None
    memory_mb: int


def nurse(control: socket.socket) -> None:
    """Fork and bury workers until the parent closes its end or dies."""
    setup: Setup = pickle.loads(control.recv(_MEGABYTE))
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)  # what a worker leaves behind becomes our child
    for module in ("numpy", *(f"rewards.verifiers.{c.verifier}" for c in setup.calls if ":" not in c.verifier)):
        importlib.import_module(module)
    gc.freeze()  # else a worker's first collection copies every page
    workers: dict[str, int] = {}
    while True:
        while not select.select([control], [], [], _SWEEP_S)[0]:
            _sweep(workers)
        message, sockets, _, _ = socket.recv_fds(control, 64, 1)
        command, _, number = message.decode().partition(" ")
        if command == "F":
            nursery, pid = os.getpid(), os.fork()
            if pid == 0:
                try:
                    control.close()
                    _work(socket.socket(fileno=sockets[0]), setup, nursery, number)
                finally:
                    os._exit(1)
            os.close(sockets[0])
            workers[number] = pid
        elif command == "K":
            status = _bury(workers.pop(number, 0), workers)
            shutil.rmtree(_scratch(number), ignore_errors=True)
            control.send(str(status).encode())
        else:
            break
    for number in list(workers):
        _bury(workers.pop(number), workers)
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)


def _scratch(number: str) -> str:
    """A worker's own folder for temporary files, which goes when it goes."""
    return os.path.join(tempfile.gettempdir(), number)


def _bury(pid: int, workers: Mapping[str, int]) -> int:
    """SIGKILL to a worker, its process group and what escaped from it; its wait status. Nobody else waits for
    workers, so that the id cannot have passed to another process."""
    status = 0
    if pid:
        for kill in (os.kill, os.killpg):  # the group may not exist yet
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    living = set(workers.values())
    while orphans := [
        child for child in children(os.getpid()) if child not in living and os.getsid(child) not in living
    ]:
        for child in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return status


def _sweep(workers: Mapping[str, int]) -> None:
    """Reap what has ended and was no worker: bubblewrap leaves the first process of a sandbox to its forefathers."""
    for child in set(children(os.getpid())) - set(workers.values()):
        os.waitpid(child, os.WNOHANG)


def _work(channel: socket.socket, setup: Setup, nursery: int, number: str) -> None:
    """A worker's whole life."""
    os.environ["TMPDIR"] = tempfile.tempdir = _scratch(number)
    os.mkdir(tempfile.tempdir)
    channel.set_inheritable(False)  # descriptors that are received pass through exec
    os.setsid()  # a group of its own: SIGKILL to it takes along what a verifier has started
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery:
        return
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # what a verifier prints belongs neither in the protocol nor on the user's screen
        os.dup2(silence, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send(channel, {"pid": os.getpid()})  # before anybody else's code runs: the pool measures what this process uses
    verifiers: list[resolve.Verifier] = []
    for call in setup.calls:
        try:
            verifiers.append(resolve.load(call.verifier, setup.folder))
        except BaseException as error:  # isolation boundary: a user's module
            text = f"verifier '{call.verifier}' cannot be loaded: {type(error).__name__}: {error}"
            _send(channel, {"failed": text})
            return
    _limit_memory(setup.memory_mb)
    gold = [v.gold and [[c.pred, c.gold, *c.bounds] for c in v.gold] for v in verifiers]
    _send(channel, {"ready": True, "gold": gold})
    inbox = channel.makefile("rb")
    while head := inbox.read(HEAD.size):
        ticket, length = HEAD.unpack(head)
        _serve(channel, ticket, inbox.read(length), setup, verifiers)


def _limit_memory(memory_mb: int) -> None:
    """RLIMIT_AS counts what is mapped, so what libraries have mapped so far comes on top."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = mapped + memory_mb * _MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _serve(channel: socket.socket, ticket: int, body: bytes, setup: Setup, verifiers: list[resolve.Verifier]) -> None:
    try:
        calls, sample = cast(tuple[tuple[int, ...], Rollout | int], pickle.loads(body))
    except Exception as error:  # isolation boundary: a user's class among the prompt's fields
        _send(
            channel, [ticket, -1, *error_to_wire(f"the prompt cannot be read: {type(error).__name__}: {error}"), False]
        )
        return
    for call in calls:
        args = setup.calls[call].args
        rollout = sample
        if isinstance(rollout, int):  # a case of the verifier's own gold
            own, index = rollout < 0, max(rollout, ~rollout)
            case = cast(list[Case], verifiers[call].gold)[index]
            rollout, args = case.rollout(), args if own else {**args, **case.args}
        try:
            answer = to_wire(verifiers[call].verify(rollout.prompt, rollout, **args))
        except MemoryError:
            _send(channel, [ticket, call, *error_to_wire(f"out of memory (memory_mb: {setup.memory_mb})"), True])
            os._exit(0)  # what is left of the heap belongs to no sample
        except BaseException as error:  # isolation boundary: sys.exit too
            answer = error_to_wire(f"{type(error).__name__}: {error}")
        _send(channel, [ticket, call, *answer, False])


def _send(channel: socket.socket, message: Any) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")
