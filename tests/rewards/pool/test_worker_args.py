"""What a worker hands to the code of a user."""

from __future__ import annotations

import json
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest

from rewards.pool.work import Call
from rewards.pool.worker import Setup, _judge
from rl.messages import Exchange
from rl.types import Message, Prompt, Reply, Rollout
from rollouts.environments.contract import Pause
from rollouts.environments.work import Replying

GAMES = """
from rl.types import Message, Reply

def card(n):
    return Reply((Message("user", str(n)),))

def step(prompt, rollout, deck):
    return card(deck["cards"].pop())

class Dealer:
    def __init__(self, deck): self.deck = deck
    def step(self, prompt, rollout): return card(self.deck["cards"].pop())

def play(prompt, rollout, deck):
    while True:
        rollout = yield card(deck["cards"].pop())
"""


@pytest.mark.parametrize("name", ["step", "Dealer", "play"])
def test_no_sample_sees_what_another_made_of_the_arguments(name: str, tmp_path: Path) -> None:
    (tmp_path / "dealing_games.py").write_text(GAMES)
    call = Call(f"dealing_games.py:{name}", {"deck": {"cards": [1, 2, 3]}})
    work = Replying()
    setup = Setup(work, (call,), tmp_path, 100)
    player = work.load(call, tmp_path)
    tokens = np.arange(4)
    first = Rollout(Prompt("p", ()), 0, tokens, tokens > 1, np.zeros(2, np.float32), "stop", 0, "hm")
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as lines:
        for _ in range(5):
            _judge(theirs, 7, pickle.dumps(((0,), Pause(first, None))), setup, [player], -1)
            _, _, answer, _ = json.loads(lines.readline())
            assert answer["error"] is None
            assert answer["reply"]["messages"] == [["user", "3"]]
        if name == "play":  # run again from its beginning
            second = Rollout(
                first.prompt, 0, tokens, tokens > 1, first.logprobs, "stop", 0, "hm",
                exchanges=(Exchange("hm", Reply((Message("user", "3"),)), 4, 4),),
            )  # fmt: skip
            _judge(theirs, 7, pickle.dumps(((0,), Pause(second, None))), setup, [player], -1)
            assert json.loads(lines.readline())[2]["reply"]["messages"] == [["user", "2"]]
