"""Ends of sessions that no run has asked for: each is written as a run writes its rollouts."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rl.run.tracker import Tracker, rollout_file, rollout_files
from rl.types import Rollout, Scored, Verdict

if TYPE_CHECKING:
    from rollouts.harness.sessions import Sessions

STAGE = "sessions"
"""Name under which rollouts are written: `rollouts/sessions-000001.parquet` is that of the first session that ended."""
NO_REWARD = "the session was finished without a reward"
END_S = 60.0
"""Seconds within which a session ends once that was asked for."""
OVER = "the server has ended"
"""Reason for which sessions end that are open when it ends."""
MOST_ANSWERS = 10_000
"""Ended sessions whose end may be asked for once more."""
Answer = Future[Mapping[str, object] | None]
"""The record of a session that is still to end; None for one that was not open."""


class SessionFiles:
    """The rollouts of the sessions that have ended, in the folder `out`; numbered on from those that are there."""

    def __init__(self, out: Path) -> None:
        self.tracker, self.lock = Tracker(out, STAGE), threading.Lock()
        self.count = max((step for stage, step, _ in rollout_files(out) if stage == STAGE), default=0)

    def write(self, rollout: Rollout) -> Path:
        """Write all rollouts of a session to a file of its own, and return its path. Raises DiskFull."""
        verdict = rollout.verdict or Verdict(error=rollout.error or NO_REWARD)
        with self.lock:  # sessions end in the threads of their clients
            number = self.count + 1
            self.tracker.record_rollouts(number, [Scored(one, verdict) for one in (*rollout.siblings, rollout)])
            self.count = number
            return rollout_file(self.tracker.run_dir, STAGE, number)


class Endings:
    """The ends of a server's sessions. A session is written in the thread that ends it, whether or not its client still waits,
    and a client that asks once more to end it is answered as the first time."""

    def __init__(self, sessions: Sessions, files: SessionFiles) -> None:
        self.sessions, self.files = sessions, files
        self.failure: Exception | None = None
        """The fault for which a session could not be written."""
        self._answers: OrderedDict[str, tuple[Mapping[str, object] | None, Answer]] = OrderedDict()
        self._unwritten: dict[str, Rollout] = {}
        self._lock = threading.Lock()

    def finish(self, id: str, values: Mapping[str, object]) -> Mapping[str, object]:
        """End a session as its client says, and return what was written. Raises AskError."""
        from rollouts.harness.server import wait_for

        verdict, error = read_end(values)
        # Two requests at a time, of a client that lost patience with the first, must not end the session twice.
        with self._lock:
            before, answer = self._answers.get(id, (None, None))
            if answer is None or before != values:  # else it is the same once more: its client was told to try again
                answer = self._end(id, values, verdict, error)
        written = wait_for(answer, END_S)
        if written is None:
            raise self.sessions.refuse_unknown(id)
        return written

    def end(self, id: str, error: str) -> None:
        """End a session that nobody finishes."""
        self._end(id, None, None, f"harness: {error}")

    def close(self) -> None:
        """Write what was not finished, as errors, and take no more questions. Raises what a session could not be written for."""
        # Only queued here: nobody deals any more, so that it is `sessions.close` which carries it out.
        for id in list(self.sessions.open):
            self.end(id, OVER)
        self.sessions.close(OVER)
        for _, answer in list(self._answers.values()):
            wait([answer], END_S)  # a client's thread may be writing it
        for id, rollout in list(self._unwritten.items()):  # its writing was interrupted
            self._write(id, rollout)
        self.check()

    def check(self) -> None:
        """Raise what a session could not be written for."""
        if self.failure is not None:
            raise self.failure

    def _end(self, id: str, values: Mapping[str, object] | None, verdict: Verdict | None, error: str | None) -> Answer:
        from rollouts.harness.settings import AskError

        answer: Answer = Future()

        def write(ending: Future[Rollout | None]) -> None:
            rollout = ending.result()
            if rollout is None:  # was not open: that is no answer to keep
                if self._answers.get(id, (None, None))[1] is answer:
                    del self._answers[id]
                answer.set_result(None)
                return
            self._unwritten[id] = rollout
            try:
                answer.set_result(self._write(id, rollout))
            except Exception as failure:  # a future would swallow it; the thread that deals raises it
                self.failure = failure
                answer.set_exception(failure)
            except BaseException:  # Ctrl-C: `close` writes the session, and must not wait for this answer first
                answer.set_exception(AskError("closed", OVER, 503))
                raise

        if id not in self._answers:
            self._answers[id] = values, answer
            while len(self._answers) > MOST_ANSWERS:
                self._answers.popitem(last=False)
        self.sessions.end(id, verdict, error).add_done_callback(write)
        return answer

    def _write(self, id: str, rollout: Rollout) -> Mapping[str, object]:
        file = self.files.write(rollout)
        self._unwritten.pop(id, None)
        return {"session": id, "rollouts": 1 + len(rollout.siblings), "file": str(file), "error": rollout.error}


def read_end(values: Mapping[str, object]) -> tuple[Verdict | None, str | None]:
    """Return (verdict, error) of the JSON with which a session is finished. Raises AskError."""
    from rollouts.harness.settings import AskError, shorten
    from rollouts.harness.work import as_verdict

    if unknown := sorted(values.keys() - {"reward", "parts", "reason", "error"}):
        raise AskError("finish", f"{unknown[0][:60]}: unknown; give reward, parts, reason or error, or nothing")
    reward, parts, reason = values.get("reward"), values.get("parts", {}), values.get("reason", "")
    error = values.get("error")
    if not isinstance(error, str | None) or not isinstance(reason, str):
        raise AskError("finish", "error and reason: expected text")
    if error is not None:
        return None, f"harness: {error[:2000]}"
    scores = _read_parts(parts)
    if scores is None:
        raise AskError("finish", f"parts: {shorten(parts)} is no mapping of names to numbers")
    if reward is None:
        return None, None
    if (score := _read_number(reward)) is None:
        raise AskError("finish", f"reward: {shorten(reward)} is no finite number")
    return as_verdict(Verdict(score, scores, reason=reason[:500])), None


def _read_parts(parts: object) -> dict[str, float] | None:
    """Return the scores of a verdict's parts, or None where they are none."""
    values = cast("dict[str, object]", parts) if isinstance(parts, dict) else {"": None}
    scores = {name[:100]: score for name, value in values.items() if (score := _read_number(value)) is not None}
    return scores if len(scores) == len(values) else None


def _read_number(value: object) -> float | None:
    """Return a finite number of a JSON, or None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # A whole number may be finite and larger than any float; NaN is not below it either.
    return float(value) if abs(value) <= sys.float_info.max else None
