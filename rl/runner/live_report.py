"""Keeps the report of a run up to date while the run goes on."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rl.report.page import write_report
from rl.run.summary import SUMMARY
from rl.run.tracker import METRICS, WARNINGS

EVERY_S = 20.0
"""Seconds between two reports, unless writing one takes so long that it would cost the run more than `SHARE`."""
SHARE = 0.02
"""Largest share of the run's time that reports take."""


class LiveReport:
    """A thread that writes the report again whenever the run has recorded something.

    `with LiveReport(run_dir): …` runs the stages. The page is replaced whole, so that whoever opens it never sees half of
    one; when the block has ended nothing is written any more.
    """

    def __init__(self, run_dir: Path, every_s: float = EVERY_S) -> None:
        self.run_dir, self.every_s = run_dir, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live report", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        written: tuple[int, ...] = ()
        wait_s = 0.0  # the first one at once: there is something to open
        while not self._end.wait(wait_s):
            state = self._state()
            wait_s = self.every_s
            if state == written:
                continue
            start = time.monotonic()
            with suppress(Exception):  # an error of the page must not stop the run; the last report raises it again
                write_report(self.run_dir, lambda _: None)  # what it lacks is said once, by the last one
            written = state
            wait_s = max(self.every_s, (time.monotonic() - start) / SHARE)

    def _state(self) -> tuple[int, ...]:
        """Return when each of the files that a run appends to was changed last; 0 for one that is not there."""
        files = [self.run_dir / name for name in (SUMMARY, METRICS, WARNINGS)]
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
