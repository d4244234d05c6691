"""Environments as their processes call them."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
import pytest

from rl.messages import Exchange
from rl.types import Message, Prompt, Reply, Rollout
from rollouts.environments.contract import Pause, read_answer, to_wire
from rollouts.environments.players import player_of

REPLIES: list[Callable[[], object]] = [
    lambda: Reply([Message("user", "go on")]),  # type: ignore[arg-type]  # what a user may write
    lambda: Reply((Message("user", "a\ud800b"),)),
    lambda: Reply((Message("user", "go on"),), note="a/b"),
    lambda: Reply(reward=np.float32(1)),  # type: ignore[arg-type]
    lambda: Reply([]),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("reply", REPLIES)
def test_a_generator_replies_as_before_however_its_reply_is_written(reply: Callable[[], object]) -> None:
    def play(prompt: Prompt, rollout: Rollout) -> Generator[object, Rollout, object]:
        for _ in range(3):
            yield reply()
        return Reply(reward=2.0, last=True)

    player = player_of(play, "play")
    exchanges: tuple[Exchange, ...] = ()
    tokens = np.arange(4)
    for turn in range(3):
        rollout = Rollout(
            Prompt("p", ()), 0, tokens, tokens > 1, np.zeros(2, np.float32), "stop", 0, f"{turn}", exchanges=exchanges
        )
        answer = read_answer(to_wire(*player.reply(Pause(rollout, None), {})))
        assert answer is not None
        assert answer.reply is not None
        assert not answer.reply.last
        exchanges = (*exchanges, Exchange(f"{turn}", answer.reply, 4, 4))
