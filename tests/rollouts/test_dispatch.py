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
    made = dispatcher()
    made.add([request()])
    made.run_on()
    made.run_on()  # as where a step finds all that it needs already there
    made.pause()
    assert made.busy, "what nobody could write still waits"


def test_what_the_thread_has_failed_with_is_raised_once() -> None:
    made = dispatcher()

    def fail(timeout_s: float) -> Any:
        raise ValueError("broken")

    made.add([request()])
    made.episodes.advance = fail  # type: ignore[method-assign]
    made.run_on()
    with pytest.raises(ValueError, match="broken"):
        made.pause()
    made.pause()


def test_a_replay_is_refused_what_its_versions_cannot_begin_any_more() -> None:
    made = dispatcher(version=3)
    made.add([request(3, 4), request(4)])
    assert made.busy
    with pytest.raises(
        ValueError, match=r"^rlvr\.replay: a repeated run goes on neither from a checkpoint nor over the"
    ):
        made.add([request(2, 3)])


def test_a_later_versions_samples_wait_for_it() -> None:
    made = dispatcher(version=3)
    made.add([request(4)])
    assert not made.busy
    made.pool.version = 4
    assert made.busy


def test_a_replay_is_refused_the_death_of_an_engine_before_its_weights_are_replaced() -> None:
    made = dispatcher(version=3)
    made.add([request(3)])
    made._dead.add(0)
    with pytest.raises(ValueError, match=r"^rlvr\.replay: .* nor over the death of an engine; begin it anew$"):
        made.settle()


def test_a_failure_that_nobody_wants_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thread that has failed before `close`, and of one that ends only after it."""
    monkeypatch.setattr(dispatch, "CLOSE_S", 0.05)
    made, may_fail = dispatcher(), Event()

    def fail(timeout_s: float) -> Any:
        may_fail.wait(60)
        raise KeyError((-2, 1))

    made.add([request()])
    made.episodes.advance = fail  # type: ignore[method-assign]
    for ends_first in (False, True):
        if ends_first:
            may_fail.set()
        made.run_on()
        assert made._thread is not None
        if ends_first:
            made._thread.join()
        made.close()
        may_fail.set()
        made.pause()


def test_a_question_that_is_abandoned_as_soon_as_it_is_asked_is_not_written() -> None:
    """Question and end are both there when the dispatcher next looks."""
    made, sessions = dispatcher(), Sessions(LetterChat())
    made.episodes = sessions
    sessions.start("s", (0, 0), Prompt("p", (Message("user", "what?"),)), 7, 100, 1.0)
    sessions.ask("s", read_ask({"messages": [user("hello")]}))
    sessions.end("s", None)
    made.advance()
    assert not made.busy
