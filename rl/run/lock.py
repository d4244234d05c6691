"""The lock of a run's directory: one run at a time works in it, and a crash releases it.

The kernel holds the lock (flock) for as long as the driver's own open file lives: no process that the driver starts has
it, so what a killed run leaves behind for a moment does not hold the directory. Some network file systems have no such
locks; there the file says who works, and whether that process lives can be asked on its own machine alone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from rl.config import ConfigError
from rl.run.files import detect_full_disk

LOCK = ".lock"
"""File in a run's directory that the run at work has locked; it stays there."""
_HELD: set[Path] = set()
"""Directories whose lock this process holds."""
# Answers of a file system that has no such locks at all; one that another run holds is a BlockingIOError.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


class RunLock:
    """The lock of one run's directory."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.file = run_dir, run_dir / LOCK
        self.descriptor = -1

    def acquire(self) -> None:
        """Take the lock. Raises ConfigError where another run is at work in the directory."""
        with detect_full_disk(self.file):
            self.descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # A forked child has the open file too, and with it the lock, which it may hold longer than its parent lives.
        os.register_at_fork(after_in_child=self._close)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(self.file)
            self._close()
            raise self._refusal(owner) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                self._close()
                raise
            owner = _read_owner(self.file)
            if _may_be_at_work(owner):
                self._close()
                raise self._refusal(owner, f"; if it is not, delete {self.file}") from None
        # The lock itself does not tell who holds it: whoever is refused names the owner by this.
        with detect_full_disk(self.file):
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, json.dumps(_describe_self()).encode(), 0)
        _HELD.add(self.run_dir.absolute())

    def release(self) -> None:
        """Give the lock back."""
        _HELD.discard(self.run_dir.absolute())
        # Emptied, because without locks the content says who works. Not deleted: whoever has just opened the file
        # would lock one that nobody else finds.
        with suppress(OSError):
            os.ftruncate(self.descriptor, 0)
        self._close()

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _refusal(self, owner: dict[str, Any], fix: str = "") -> ConfigError:
        who = f"process {owner['pid']} on {owner['host']}" if owner else "another process"
        return ConfigError(
            f"{self.run_dir}: a run is at work here already ({who}); wait for it, end it or choose another --out{fix}"
        )


def is_held_here(run_dir: Path) -> bool:
    """Return whether this process holds the directory's lock."""
    return run_dir.absolute() in _HELD


def is_at_work(run_dir: Path) -> bool:
    """Return whether another process may be at work in the directory; False only where it has certainly ended."""
    if _may_be_at_work(_read_owner(run_dir / LOCK)):
        return True  # the lock itself is not tried: a run that begins in this moment has to find it free
    try:
        descriptor = os.open(run_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Its owner may be in another container, where its process id means nothing here.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # without locks the file alone tells
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False


def _describe_self() -> dict[str, object]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "start": _start_of(os.getpid())}


def _read_owner(file: Path) -> dict[str, Any]:
    """Return who wrote the file last; empty where nobody is at work, or is just about to write."""
    with suppress(OSError, ValueError):
        owner: object = json.loads(file.read_text())
        if isinstance(owner, dict) and {"pid", "host"} <= owner.keys():
            return cast("dict[str, Any]", owner)
    return {}


def _may_be_at_work(owner: dict[str, Any]) -> bool:
    """Return whether the process may be alive: on another machine nobody here can tell."""
    if not owner or (owner["host"] == socket.gethostname() and owner["pid"] == os.getpid()):
        return False
    return owner["host"] != socket.gethostname() or _start_of(owner["pid"]) == owner.get("start")


def _start_of(pid: int) -> str | None:
    """Return when a process began, in ticks since the machine did, which tells it from a later one with its id; None for
    one that has ended."""
    with suppress(OSError, IndexError):
        # What stands behind the name, which may hold brackets, begins with field 3 of proc(5), `state`; 22 is its start.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]  # a zombie has ended, and waits for its parent to look
    return None
