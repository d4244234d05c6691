"""Sessions without a run that end: each is written once, whoever still waits for that."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness_client import LetterChat, dealing, user, write

from rl.run.files import DiskFull
from rl.run.tracker import rollout_files
from rl.runner import session_ends
from rl.runner.session_ends import OVER, Endings, SessionFiles
from rl.types import Rollout
from rollouts.harness.asks import read_ask
from rollouts.harness.sessions import Sessions
from rollouts.harness.settings import AskError


def table(folder: Path, *ids: str) -> tuple[Sessions, Endings]:
    """Return sessions that have an answer each, and their ends."""
    sessions = Sessions(LetterChat(), is_free=True)
    for id in ids:
        sessions.start_alone(id, 7, 400, 1.0)
    with dealing(sessions):
        for id in ids:
            sessions.ask(id, read_ask({"messages": [user("hello")]})).result(10)
    return sessions, Endings(sessions, SessionFiles(folder))


def test_a_finish_that_was_told_to_try_again_is_answered_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, endings = table(tmp_path, "a")
    monkeypatch.setattr(session_ends, "END_S", 0.05)
    with pytest.raises(AskError, match="try again") as refusal:  # the thread that deals is busy
        endings.finish("a", {"reward": 1.0})
    assert refusal.value.status == 503
    monkeypatch.setattr(session_ends, "END_S", 10.0)
    with dealing(sessions):
        written = endings.finish("a", {"reward": 1.0})
        assert endings.finish("a", {"reward": 1.0}) == written
        with pytest.raises(AskError, match="has ended") as refusal:
            endings.finish("a", {"reward": 0.0})
        assert refusal.value.status == 410
        with pytest.raises(AskError, match="is not open") as refusal:
            endings.finish("b", {"reward": 0.0})
        assert refusal.value.status == 404
    assert len(rollout_files(tmp_path)) == 1
    assert (written["session"], written["error"]) == ("a", None)


def test_what_was_asked_to_end_when_the_server_ends_is_written_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sessions, endings = table(tmp_path, "a", "b")
    monkeypatch.setattr(session_ends, "END_S", 0.05)
    with pytest.raises(AskError, match="try again"):
        endings.finish("a", {"reward": 1.0})
    endings.close()
    assert endings.finish("a", {"reward": 1.0})["error"] is None
    assert len(rollout_files(tmp_path)) == 2
    with pytest.raises(AskError, match=OVER) as refusal:
        endings.finish("b", {"reward": 1.0})
    assert refusal.value.status == 410


class FullFiles(SessionFiles):
    """Files on a disk that is full until `has_space`."""

    has_space = False

    def write(self, rollout: Rollout) -> Path:
        if not self.has_space:
            raise DiskFull(self.tracker.run_dir)
        return super().write(rollout)


def test_a_full_disk_ends_the_server_and_what_is_unwritten_is_tried_once_more(tmp_path: Path) -> None:
    sessions, _ = table(tmp_path, "a")
    files = FullFiles(tmp_path)
    endings = Endings(sessions, files)
    with dealing(sessions), pytest.raises(DiskFull):
        endings.finish("a", {"reward": 1.0})
    with pytest.raises(DiskFull):
        endings.check()
    files.has_space = True
    with pytest.raises(DiskFull):
        endings.close()
    assert len(rollout_files(tmp_path)) == 1


class InterruptedFiles(SessionFiles):
    """Files whose first writing is interrupted by Ctrl-C."""

    is_interrupted = False

    def write(self, rollout: Rollout) -> Path:
        if not self.is_interrupted:
            self.is_interrupted = True
            raise KeyboardInterrupt
        return super().write(rollout)


def test_what_an_interrupt_left_unwritten_is_written_at_once(tmp_path: Path) -> None:
    sessions, _ = table(tmp_path, "a")
    endings = Endings(sessions, InterruptedFiles(tmp_path))
    endings.end("a", "nobody finished it")
    with pytest.raises(KeyboardInterrupt):
        sessions.advance()
    began = time.monotonic()
    endings.close()
    assert len(rollout_files(tmp_path)) == 1
    assert time.monotonic() - began < session_ends.END_S / 2  # without waiting for the answer to who asked


def test_a_session_that_nobody_uses_is_written_as_an_error(tmp_path: Path) -> None:
    sessions, endings = table(tmp_path, "a")
    endings.end("a", "no question for 5 s, and not finished")
    sessions.advance()
    endings.check()
    assert len(rollout_files(tmp_path)) == 1


def test_a_slow_answer_does_not_count_as_idle(tmp_path: Path) -> None:
    sessions, _ = table(tmp_path, "a")
    session = sessions.open["a"]
    session.last_use = 0.0
    question = sessions.ask(
        "a", read_ask({"messages": [user("hello"), {"role": "assistant", "content": "n10"}, user("x")]})
    )
    (request,), _rollouts = sessions.advance()
    session.last_use = 0.0  # the engine takes its time
    sessions.add(write(request))
    question.result(0)
    assert session.last_use > 0.0
