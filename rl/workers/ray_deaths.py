"""Notices at once when a process of Ray's own dies, its GCS or its raylet.

A driver must not go on then. Without the raylet it is ended, without a word, by its next look into the object store, which is
a part of the raylet. Without the GCS it works on for a minute, until Ray gives up waiting for another one and ends it too.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

from rewards.deadline import list_children
from rl.workers.liveness import RAY, read_command

OWN = ("gcs/gcs_server", "raylet/raylet")
"""Part of the command lines of Ray's own processes, without which it does not work."""
_PAUSE_MS = 500  # between two looks at whether the watch is over


class RayDeaths:
    """A thread that calls `report` once, with the first process to die of those that make up the Ray that this process has
    started."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self.ended = threading.Event()
        self.descriptors: dict[int, str] = {}
        for pid, name in _find_own_processes().items():
            with suppress(OSError):  # Linux before 5.3 has no such descriptors: there Ray itself is the first to notice
                self.descriptors[os.pidfd_open(pid)] = name
        self.thread = threading.Thread(target=self._run, name="Ray's deaths", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop watching, before Ray is stopped."""
        self.ended.set()
        if self.thread is not threading.current_thread():
            self.thread.join()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in self.descriptors:
            poll.register(descriptor, select.POLLIN)  # readable once the process has ended
        while not self.ended.is_set():
            for descriptor, _ in poll.poll(_PAUSE_MS):
                if not self.ended.is_set():
                    self.report(f"{self.descriptors[descriptor]} has died")
                return


def _find_own_processes() -> dict[int, str]:
    """Return {process id: name} of the processes of Ray's own that this process has started."""
    commands = {pid: read_command(pid) for pid in list_children(os.getpid())}
    return {pid: f"{RAY[part]} (pid {pid})" for pid, command in commands.items() for part in OWN if part in command}
