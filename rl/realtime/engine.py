"""An engine that answers many questions at once, each by two decoders: one thread steps it, and others ask."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rl.realtime.figures import SPEECH_RATE
from rl.realtime.metrics import Metrics
from rl.realtime.stream import End, Event, Failure, Orders, PacedStream, Question
from rl.stages.paced_answer import Pace
from rollouts.chat_format import ChatFormat
from rollouts.harness.settings import AskError
from rollouts.requests import Piece, Request

CLOSING = "the server is closing"
CLOSE_S = 60.0
"""Seconds that `close` waits for the engine's thread, which may be within a step."""


class Writer(Protocol):
    """An engine, as far as this room asks it; `rollouts.worker.EngineWorker` is one."""

    def begin_stream(self, name: str, request: Request) -> None: ...
    def step_streams(self) -> list[Piece]: ...
    def end_streams(self, names: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of what is taken on at a time."""

    streams: int = 64
    """Answers that are written at once."""
    waiting: int = 128
    """Questions that wait for their turn; more are refused."""


class Answering:
    """An answer as its client follows it."""

    def __init__(self, stream: PacedStream) -> None:
        self.stream = stream
        # Holds no more than the answer's own tokens and a few phrases of sound (`delivery.Speaker`), so a client that reads
        # slowly costs nobody else anything.
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()


class PacedEngine:
    """Answers questions from its construction to `close`."""

    def __init__(
        self,
        worker: Writer,
        chat: ChatFormat,
        pace: Pace,
        bounds: Bounds | None = None,
        speech_rate: float = SPEECH_RATE,
        fail: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Start the thread of the engine; `fail` is called where the engine itself has failed and answers nothing
        more."""
        self.worker, self.chat, self.pace, self.speech_rate = worker, chat, pace, speech_rate
        self.bounds, self.fail = bounds or Bounds(), fail
        self.metrics = Metrics()
        self.failure = ""
        self._places = threading.BoundedSemaphore(self.bounds.streams + self.bounds.waiting)
        self._condition = threading.Condition()
        self._waiting: deque[Answering] = deque()
        self._dropped: list[Answering] = []
        self._running: set[Answering] = set()
        self._decoders: dict[str, Answering] = {}  # by the names of their samples
        self._numbers = 0
        self._thread = threading.Thread(target=self._work, name="paced engine", daemon=True)
        self._thread.start()

    # --- the threads of those who ask ---------------------------------------------------------------------------------

    def enter(self) -> None:
        """Take a place, before a question is even read; `leave` gives it back. Raises AskError where all are taken."""
        if not self._places.acquire(blocking=False):
            self.metrics.count("refused")
            most = self.bounds
            raise AskError("busy", f"{most.streams} answers are written and {most.waiting} wait; try again later", 429)

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()

    def ask(self, question: Question) -> Answering:
        """Queue a question. Whoever asks has a place, and calls `drop` once it needs no more of the answer."""
        with self._condition:
            self._numbers += 1
            name = str(self._numbers)
            stream = PacedStream(name, question, self.pace, self.chat, time.monotonic(), self.speech_rate)
            answering = Answering(stream)
            if self.failure:
                answering.events.put(Failure(self.failure))
                return answering
            self._waiting.append(answering)
            self.metrics.count("questions")
            self._condition.notify()
        return answering

    def drop(self, answering: Answering) -> None:
        """End both decoders of an answer, unless they have ended."""
        with self._condition:
            self._dropped.append(answering)
            self._condition.notify()

    def close(self) -> None:
        """End the engine's thread, and wait for it; open questions are told that no answer will come."""
        with self._condition:
            self.failure = self.failure or CLOSING
            self._condition.notify()
        self._thread.join(CLOSE_S)

    def gauges(self) -> dict[str, int]:
        """Return how many answers are being written, and how many questions wait."""
        return {"running": len(self._running), "waiting": len(self._waiting)}

    # --- the engine's thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while self._take_in():
                if self._decoders:
                    for piece in self.worker.step_streams():
                        if answering := self._decoders.get(piece.name):
                            if piece.finish_reason:
                                del self._decoders[piece.name]
                            self._follow(answering, answering.stream.take(piece, time.monotonic()))
        except Exception as error:  # isolation boundary: who waits is told, and the command ends with one line
            with self._condition:
                self.failure = f"the engine has failed: {type(error).__name__}: {error}"[:300]
            self.fail(self.failure)
        finally:
            self._refuse_all()

    def _take_in(self) -> bool:
        """Drop and begin what was asked for since the last step, and wait where there is nothing to do. Return whether to go on."""
        with self._condition:
            while not (self._waiting or self._dropped or self._decoders or self.failure):
                # Without a bound: whoever asks, drops or closes notifies.
                self._condition.wait()
            if self.failure:
                return False
            dropped, self._dropped = self._dropped, []
            for answering in dropped:
                if answering in self._waiting:
                    self._waiting.remove(answering)
                    self.metrics.count("cancelled")
            # Those that are dropped below make room at once.
            free = self.bounds.streams - len(self._running) + sum(a in self._running for a in dropped)
            begun = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            self._running.update(begun)  # all at once: if the engine fails at one of them, the others are told too
        # Outside the lock: the engine may take long to begin or end a sample, and who asks or drops would wait for it.
        for answering in dropped:
            if answering in self._running:
                self.metrics.count("cancelled")
                self._end(answering, answering.stream.names())
        for answering in begun:
            self._follow(answering, answering.stream.begin(time.monotonic()))
        return True

    def _follow(self, answering: Answering, orders: Orders) -> None:
        """Do what an answer wants, and tell its client."""
        for name, request in orders.begin:
            try:
                self.worker.begin_stream(name, request)
                self._decoders[name] = answering
            except ValueError as error:  # this question's own: a sound that cannot be read, a prompt that does not fit
                orders.events.append(Failure(str(error)))
                break
        self._drop_decoders(orders.end)
        for event in orders.events:
            # Before its client hears of it, who may look at the metrics, or ask again, at once.
            if isinstance(event, End | Failure):
                self.metrics.finish(event)
                self._end(answering, answering.stream.names())
            answering.events.put(event)

    def _end(self, answering: Answering, names: Sequence[str]) -> None:
        answering.stream.is_over = True
        self._running.discard(answering)
        self._drop_decoders(names)

    def _drop_decoders(self, names: Sequence[str]) -> None:
        """Have the engine forget samples that it is writing."""
        running = [name for name in names if self._decoders.pop(name, None)]
        if running:
            self.worker.end_streams(running)

    def _refuse_all(self) -> None:
        """Tell everybody that no answer will come."""
        with self._condition:
            left = [*self._running, *self._waiting]
            self._waiting.clear()
        for answering in left:
            answering.events.put(Failure(self.failure))
