"""The last one out of a local Ray: waits for the run's end, kills what is left of the Ray and removes its folder.

Run as a program of its own, so that it outlives a run that is killed: `python ray_watcher.py FOLDER PID`. The run holds the
other end of its stdin, which the kernel closes however the run ends. What was written there until then decides whether the
folder stays. It imports the standard library alone: it starts within milliseconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

KEEP = b"keep"
"""Message after which the folder stays."""
_LIMIT_S = 20.0  # a process in the kernel's hands (a dying GPU driver) may not end at once
_PAUSE_S = 0.05
_QUIET_ROUNDS = 3  # without any process: one that was just starting another may have been seen as neither


def wait_and_clean(folder: str, run: int) -> None:
    """Wait until stdin ends; then kill every process of the Ray in `folder`, and remove the folder. The process `run`,
    which has started the Ray, is left alone."""
    message = sys.stdin.buffer.read()
    kill_all(folder, run)
    if message != KEEP:
        shutil.rmtree(folder, ignore_errors=True)


def kill_all(folder: str, run: int) -> None:
    """Kill every process of the Ray in `folder` but `run`, and wait until all are gone."""
    deadline, quiet_rounds = time.monotonic() + _LIMIT_S, 0
    while quiet_rounds < _QUIET_ROUNDS and time.monotonic() < deadline:
        pids = [pid for pid in list_processes(folder) if pid != run]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        quiet_rounds = 0 if pids else quiet_rounds + 1
        time.sleep(_PAUSE_S)


def list_processes(folder: str) -> list[int]:
    """Return this user's processes that have a file in `folder` open for writing.

    Ray's own processes, its actors and whatever these start hold the session's logs open, while a process that only reads
    one (`tail -f`) is left alone. Neither parent nor title tells them: a killed run's orphans have lost the one, and Ray
    changes the other.
    """
    pids: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):  # not /proc/self, by which this process would be listed by a name
        with suppress(OSError):  # not a process, somebody else's, or one that has just ended
            if any(_is_written(entry, link, folder) for link in (entry / "fd").iterdir()):
                pids.append(int(entry.name))
    return pids


def _is_written(process: Path, link: Path, folder: str) -> bool:
    """Return whether the process's open file `link` is in `folder` and open for writing."""
    if not os.readlink(link).startswith(f"{folder}/"):
        return False
    fields = (process / "fdinfo" / link.name).read_text().split()  # "pos: 0 flags: 0100001 …", proc(5)
    return bool(int(fields[fields.index("flags:") + 1], 8) & (os.O_WRONLY | os.O_RDWR))


if __name__ == "__main__":
    if os.fork():  # an orphan from here on: whoever kills the run and all below it leaves this process alive
        os._exit(0)
    os.chdir("/")  # a working directory would keep a disk from being unmounted
    wait_and_clean(sys.argv[1], int(sys.argv[2]))
