"""Stretches that were heard again, beside the one that a question is about."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from rl.messages import AUDIO_PATCH, Clip, Exchange, Message, Reply
from rl.types import Prompt, Rollout
from rollouts.environments.metrics import exchange_metrics
from rollouts.environments.stretches import heard_stretch, overlap, stretch_metrics, union_share

SOUND = Reply((Message("assistant", AUDIO_PATCH),), (Clip(data=b""),), note="listen")
TOKENS = np.arange(40)


def rollout(*exchanges: Exchange, stretch: object = (1.0, 2.0)) -> Rollout:
    prompt = Prompt("p", (), fields={"stretch": stretch})
    return Rollout(prompt, 0, TOKENS, TOKENS > 1, np.zeros(38, np.float32), "stop", 0, "hm", exchanges=exchanges)


def exchange(text: str, reply: Reply = SOUND) -> Exchange:
    return Exchange(text, reply, 10, 17)


@pytest.mark.parametrize(
    ("text", "stretch"),
    [
        ("in <seg>1.0, 2.5</seg>", (1.0, 2.5)),
        ("<seg>0,1</seg> and <seg> .5 , 3. </seg>\n", (0.5, 3.0)),
        ("<hear>1, 2, 1</hear>", (1.0, 2.0)),
        ("<seg>1.0, 2.5</sag>", None),
        ("<seg>1.0</seg>", None),
        ("<seg>a, b</seg>", None),
        ("1.0, 2.5</seg>", None),
        ("<seg>1.0, 2.5</seg>, ", (1.0, 2.5)),  # `>,` may be one token
        ("<seg>1.0, 2.5</seg>.\n\n", (1.0, 2.5)),
        ("<seg>1.0, 2.5</seg>dog", (1.0, 2.5)),
        ("<seg>0,1</seg> and <seg>2, 3</seg>。", (2.0, 3.0)),
        ("", None),
    ],
)
def test_what_was_asked_for(text: str, stretch: tuple[float, float] | None) -> None:
    assert heard_stretch(exchange(text)) == stretch
    assert heard_stretch(exchange(text, Reply(note="too_short"))) is None
    assert heard_stretch(exchange(text, replace(SOUND, last=True))) is None


def test_a_long_number_costs_no_time() -> None:
    start = time.process_time()
    assert heard_stretch(exchange("<seg>" + "1" * 30_000)) is None
    assert time.process_time() - start < 2


def test_shares() -> None:
    assert union_share((1, 2), (1, 2)) == 1
    assert union_share((1, 2), (2, 3)) == union_share((1, 1), (1, 1)) == 0
    assert union_share((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert overlap([(0, 2), (5, 6)]) == overlap([]) == overlap([(1, 1)]) == 0
    assert overlap([(1, 3), (0, 2)]) == pytest.approx(1 / 4)
    assert overlap([(0, 1)] * 4) == pytest.approx(3 / 4)
    assert overlap([(0, 4), (1, 2)]) == pytest.approx(1 / 5)


def test_metrics() -> None:
    once, twice = exchange("<seg>1, 2</seg>"), exchange("<seg>1.5, 2.5</seg>")
    refused = exchange("<seg>2, 1</seg>", Reply(note="reversed"))
    metrics = stretch_metrics([rollout(once, twice), rollout(refused), rollout(twice), rollout()])
    assert metrics == {
        "environment/heard_again": 0.5,
        "environment/iou": pytest.approx((1 + 1 / 3 + 1 / 3) / 3),
        "environment/overlap": pytest.approx(1 / 4),
    }
    assert stretch_metrics([rollout(refused), rollout()]) == {}
    for unknown in (None, "1, 2", (1.0,), (1.0, "2")):
        assert stretch_metrics([rollout(once, stretch=unknown)]) == {"environment/heard_again": 1.0}
    counted = exchange_metrics([rollout(once, refused), rollout()])
    assert (counted["environment/sounds"], counted["environment/tokens"]) == (0.5, 7.0)
    assert counted["environment/note/reversed"] == 0.5
