"""The thread that deals while its caller does something else: when it starts, ends and fails, without engines."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from harness_client import LetterChat, user

from rl.types import Message, Prompt
from rollouts import dispatch
from rollouts.dispatch import Dispatcher
from rollouts.harness.asks import read_ask
from rollouts.harness.sessions import Sessions
from rollouts.requests import Request


class NoEpisodes:
    """No sample has turns."""

    waiting = False

    def advance(self, timeout_s: float) -> tuple[list[Request], list[Any]]:
        return [], []

    def take_abandoned(self) -> set[tuple[int, int]]:
        return set()


def dispatcher(version: int = 3) -> Dispatcher:
    """A dispatcher of no engines: nothing that is due is ever dealt."""
    pool: Any = SimpleNamespace(engines=[], version=version)
    episodes: Any = NoEpisodes()
    return Dispatcher(pool, 4, lambda i, completions: None, episodes, lambda finished: None)


def request(*versions: int) -> Request:
    return Request((0, 0), (1, 2), 0, 8, 1.0, cuts=tuple((version, 4) for version in versions))


def test_running_on_twice_is_running_on() -> None:
    subject = dispatcher()
    subject.add([request()])
    subject.run_on()
    subject.run_on()  # as where a step finds all that it needs already there
    subject.pause()
    assert subject.busy, "what nobody could write still waits"


def test_what_the_thread_has_failed_with_is_raised_once() -> None:
    subject = dispatcher()

    def fail(timeout_s: float) -> Any:
        raise ValueError("broken")

    subject.add([request()])
    subject.episodes.advance = fail  # type: ignore[method-assign]
    subject.run_on()
    with pytest.raises(ValueError, match="broken"):
        subject.pause()
    subject.pause()


def test_a_replay_is_refused_what_its_versions_cannot_begin_any_more() -> None:
    subject = dispatcher(version=3)
    subject.add([request(3, 4), request(4)])
    assert subject.busy
    with pytest.raises(
        ValueError, match=r"^rlvr\.replay: a repeated run goes on neither from a checkpoint nor over the"
    ):
        subject.add([request(2, 3)])


def test_a_later_versions_samples_wait_for_it() -> None:
    subject = dispatcher(version=3)
    subject.add([request(4)])
    assert not subject.busy
    subject.pool.version = 4
    assert subject.busy


def test_a_replay_is_refused_the_death_of_an_engine_before_its_weights_are_replaced() -> None:
    subject = dispatcher(version=3)
    subject.add([request(3)])
    subject._dead.add(0)
    with pytest.raises(ValueError, match=r"^rlvr\.replay: .* nor over the death of an engine; begin it anew$"):
        subject.settle()


def test_a_failure_that_nobody_wants_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread fails before `close`, or ends only after it: either way nobody hears of it."""
    monkeypatch.setattr(dispatch, "CLOSE_S", 0.05)
    subject, may_fail = dispatcher(), Event()

    def fail(timeout_s: float) -> Any:
        may_fail.wait(60)
        raise KeyError((-2, 1))

    subject.add([request()])
    subject.episodes.advance = fail  # type: ignore[method-assign]
    for ends_first in (False, True):
        if ends_first:
            may_fail.set()
        subject.run_on()
        assert subject._thread is not None
        if ends_first:
            subject._thread.join()
        subject.close()
        may_fail.set()
        subject.pause()


def test_a_question_that_is_abandoned_as_soon_as_it_is_asked_is_not_written() -> None:
    """Question and end are both there when the dispatcher next looks."""
    subject, sessions = dispatcher(), Sessions(LetterChat())
    subject.episodes = sessions
    sessions.start("s", (0, 0), Prompt("p", (Message("user", "what?"),)), 7, 100, 1.0)
    sessions.ask("s", read_ask({"messages": [user("hello")]}))
    sessions.end("s", None)
    subject.advance()
    assert not subject.busy
