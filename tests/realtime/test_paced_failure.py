"""An engine that fails tells everybody who waits for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from letter_policy import CHAT

from rl.realtime.engine import PacedEngine
from rl.realtime.stream import Failure, Question
from rl.stages.paced_answer import Pace
from rollouts.requests import Piece, Request


class DeadWriter:
    """An engine whose process is gone."""

    def begin_stream(self, name: str, request: Request) -> None:
        raise RuntimeError("the engine's process is gone")

    def step_streams(self) -> list[Piece]:
        return []

    def end_streams(self, names: Sequence[str]) -> None:
        """End nothing."""


def test_of_several_answers_begun_together_all_are_told() -> None:
    failures: list[str] = []
    engine = PacedEngine(DeadWriter(), CHAT, Pace("wo", 6, 6), fail=failures.append)
    with engine._condition:  # both are there when the engine's thread looks
        answers: list[Any] = [engine.ask(Question(name, (1, 2, 3), 3, 20, 0.0, 7)) for name in "ab"]
    for answer in answers:
        event = answer.events.get(timeout=60)
        assert isinstance(event, Failure)
        assert "the engine's process is gone" in event.reason
    assert len(failures) == 1
