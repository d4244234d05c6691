"""Hands a run's records on to its sinks. Each sink has a thread of its own, so that one which hangs or fails costs the run
nothing: its first error is shown, and it is tried again with the next record."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rl.redaction import redact_text
from rl.run.sinks.base import RunFacts, Sample, Sink

MOST_WAITING = 1000
"""Records that wait for a sink; more are dropped, with a warning."""
PATIENCE_S = 60.0
"""Seconds that the end of a run waits for a sink."""
SHOWN_SAMPLES = 8
"""Samples of a step that sinks are given."""
SHOWN_EVERY = 10
"""Steps from one that samples are shown of to the next, beside a stage's first."""

Factory = Callable[[RunFacts], Sink]
Warn = Callable[[str], None]


class Channels:
    """The sinks of a run: each method hands a record to all of them and returns at once."""

    def __init__(self, run: RunFacts, factories: Mapping[str, Factory], warn: Warn) -> None:
        # With a memory of its own for each: `replace` alone would hand the same dict to all of them.
        self._channels = [Channel(replace(run, sink=name, memory={}), make, warn) for name, make in factories.items()]

    def __bool__(self) -> bool:
        return bool(self._channels)

    def record(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Hand on the numbers of a step."""
        self._send(lambda sink: sink.record(stage, step, metrics))

    def rewind(self, stage: str, step: int) -> None:
        """Hand on that a stage goes on after `step`."""
        self._send(lambda sink: sink.rewind(stage, step))

    def record_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        """Hand on some samples of a step."""
        self._send(lambda sink: sink.record_samples(stage, step, samples))

    def record_table(self, name: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        """Hand on a table."""
        self._send(lambda sink: sink.record_table(name, rows))

    def record_artifact(self, path: Path) -> None:
        """Hand on a file that the run has written."""
        self._send(lambda sink: sink.record_artifact(path))

    def close(self, status: str, patience_s: float = PATIENCE_S) -> None:
        """End the records, and wait until they are out, or for so many seconds."""
        # All are told before any is waited for, so that they end side by side.
        for channel in self._channels:
            channel.end(status)
        for channel in self._channels:
            channel.wait(patience_s)

    def _send(self, call: Callable[[Sink], None]) -> None:
        for channel in self._channels:
            channel.send(call)


class Channel:
    """One sink, made and called in a thread of its own."""

    def __init__(self, run: RunFacts, make: Factory, warn: Warn) -> None:
        self.run, self._make, self._warn = run, make, warn
        self._waiting: queue.Queue[Callable[[Sink], None] | None] = queue.Queue(MOST_WAITING)
        self._has_warned = self._has_dropped = False
        # A daemon: a sink that hangs must not keep the process.
        self._thread = threading.Thread(target=self._work, name=f"track {run.sink}", daemon=True)
        self._thread.start()

    def send(self, call: Callable[[Sink], None]) -> None:
        """Put a call in the queue; drop it where the sink is too far behind."""
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            if not self._has_dropped:
                self._has_dropped = True
                self._warn(f"track: {self.run.sink} is {MOST_WAITING} records behind; what comes now is left out there")

    def end(self, status: str) -> None:
        """Put the end of the record in the queue."""
        self.send(lambda sink: sink.finish(status))
        with suppress(queue.Full):  # it stands still; `wait` says so
            self._waiting.put(None, timeout=1)

    def wait(self, patience_s: float) -> None:
        """Wait until all is sent, or for so many seconds."""
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self._warn(f"track: {self.run.sink} has not finished within {patience_s:g} s; the rest is left out there")

    def _work(self) -> None:
        sink: Sink | None = None
        while (call := self._waiting.get()) is not None:
            try:
                # Here and not in `__init__`: what a sink imports and connects to holds nobody up, and a server that is
                # away at the first record is tried again at the next.
                if sink is None:
                    self.run.recall()
                    sink = self._make(self.run)
                call(sink)
            except Exception as error:  # whatever a service or a user's class raises, the run goes on
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Show the sink's first error."""
        if not self._has_warned:
            self._has_warned = True
            text = redact_text(" ".join(str(error).split()))[:300]
            self._warn(f"track: {self.run.sink} failed ({type(error).__name__}: {text}); the run goes on without it")


def is_shown(step: int, is_first: bool) -> bool:
    """Return whether sinks are given samples of a step."""
    return is_first or step % SHOWN_EVERY == 0
