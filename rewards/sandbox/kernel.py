"""Counts what a sandboxed program holds in the kernel: threads, files of its /tmp, locks and page tables.

None of these lies in the address space that RLIMIT_AS bounds, a process's limits do not bind them for root, and honest
programs need the calls that make them. So they are counted from outside, every few milliseconds. Calls that make the
kernel hold anything else are refused (`rewards.sandbox.system_calls`).
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rewards.deadline import list_descendants
from rewards.sandbox.bubblewrap import Limits

_FIRST_S, _INTERVAL_S = 0.01, 0.02  # in 20 ms a program can make threads or files of about 10 MB at most
_THREADS = re.compile(r"^Threads:\s*(\d+)", re.MULTILINE)
_PAGE_TABLES = re.compile(r"^VmPTE:\s*(\d+) kB", re.MULTILINE)


@dataclass(slots=True, eq=False)
class KernelWatch:
    """A watch over what the program in a bubblewrap holds in the kernel, and its bounds."""

    bubblewrap_pid: int
    """The bubblewrap outside; the program is a child of its child."""
    limits: Limits
    next_check: float = field(default_factory=lambda: time.monotonic() + _FIRST_S)
    """Time of the next check (`time.monotonic`)."""
    _pid: int = 0  # of the program; 0 until it has been started

    def check(self) -> str:
        """Return which bound the program exceeds, or ""."""
        now = time.monotonic()
        if now < self.next_check:
            return ""
        self.next_check = now + _INTERVAL_S
        if not self._pid:
            # The program cannot start processes, so it is the last in the chain of descendants.
            pids = list_descendants(self.bubblewrap_pid)
            if len(pids) < 2:
                return ""
            self._pid = pids[-1]
        for count, limit, unit in self._count():
            if count > limit:
                return f"more than {limit} {unit}"
        return ""

    def _count(self) -> list[tuple[int, int, str]]:
        """Return (what it holds, what it may hold, name) of each resource; nothing of a program that has just ended."""
        limits, counts = self.limits, list[tuple[int, int, str]]()
        with suppress(OSError):
            # The status begins with the name that the program has chosen, which may be no text.
            status = Path(f"/proc/{self._pid}/status").read_text(errors="replace")
            if threads := _THREADS.search(status):
                counts.append((int(threads[1]), limits.threads, "threads"))
            if tables := _PAGE_TABLES.search(status):
                counts.append((int(tables[1]) >> 10, limits.page_tables_mb, "MB of page tables"))
            disk = os.statvfs(f"/proc/{self._pid}/root/tmp")
            counts.append((disk.f_files - disk.f_ffree, limits.tmp_files, "files in /tmp"))
        with suppress(OSError):
            # `1: POSIX  ADVISORY  WRITE 4711 00:2c:5 0 0`: of the whole machine, of which few programs lock anything
            locks = [line.split()[4:5] for line in Path("/proc/locks").read_text().splitlines()]
            counts.append((locks.count([str(self._pid)]), limits.locks, "locks"))
        return counts
