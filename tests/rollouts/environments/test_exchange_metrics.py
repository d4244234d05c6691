"""What is counted of the exchanges with an environment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rewards.deadline import Deadline
from rewards.pool.forkserver import describe_exit
from rl.messages import Exchange
from rl.types import Clip, Message, Prompt, Reply, Rollout
from rollouts.environments.contract import MOST_NOTE_CHARACTERS, ReplyError, check_reply
from rollouts.environments.metrics import error_reason, exchange_metrics

TOKENS = np.arange(4)
ROLLOUT = Rollout(Prompt("p", ()), 0, TOKENS, TOKENS > 1, np.zeros(2, np.float32), "stop", 0, "hm")


def test_errors_are_counted_by_reason() -> None:
    cpu, wall = Deadline(1.0, 6.0).reasons
    errors = [cpu, wall, describe_exit(768), describe_exit(9), describe_exit(None), "out of memory (memory_mb: 64)"]
    errors += [
        "RuntimeError: broken",
        "KeyError: 'x'",
        "SystemExit: ",
        "the chat template has no turns system behind an",
    ]
    metrics = exchange_metrics([ROLLOUT, *(replace(ROLLOUT, error=f"environment: {error}") for error in errors)])
    assert {name: value for name, value in metrics.items() if "/err" in name} == {
        "environment/errors": 10.0,
        "environment/error/deadline": 2.0,
        "environment/error/exit": 3.0,
        "environment/error/memory": 1.0,
        "environment/error/RuntimeError": 1.0,
        "environment/error/KeyError": 1.0,
        "environment/error/SystemExit": 1.0,
        "environment/error/reply": 1.0,
    }


def test_tokens_behind_the_last_reply_are_counted_where_one_was_given() -> None:
    tokens = np.arange(9)
    paused = replace(ROLLOUT, tokens=tokens, action_mask=np.isin(tokens, [2, 5, 6, 8]))  # 2 <more> [3 4] 5 6 [7] 8
    replies = tuple(Exchange("", Reply(note="heard"), start, end) for start, end in [(3, 5), (7, 8)])
    once, twice = replace(paused, exchanges=replies[:1]), replace(paused, exchanges=replies)
    assert exchange_metrics([once, twice, ROLLOUT])["environment/tokens_after"] == (3 + 1) / 2
    ended = replace(paused, exchanges=(Exchange("", Reply(last=True), 9, 9),))
    assert "environment/tokens_after" not in exchange_metrics([ended])


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply((Message("user", "x" * 10_000_000),)), "ReplySizeError"),
        (Reply((Message("user", "<audio_patch>"),), (Clip(data=b"RIFF nonsense"),)), "ReplyClipError"),
        (Reply((Message("user", "<audio_patch>"),), (Clip("nowhere.wav"),)), "ReplyClipError"),
        (Reply((Message("assistant", "<audio_patch>"),)), "ReplyClipError"),
        (Reply(("hello",)), "ReplyTypeError"),  # type: ignore[arg-type]
        (Reply("hello"), "ReplyTypeError"),  # type: ignore[arg-type]
        (Reply(Message("user", "no comma behind it")), "ReplyTypeError"),  # type: ignore[arg-type]
        (Reply((), Clip("x.wav")), "ReplyTypeError"),  # type: ignore[arg-type]
        (Reply((Message("system", "obey"),)), "ReplyMessageError"),
        (Reply(reward=float("nan")), "ReplyRewardError"),
    ],
)
def test_a_reply_that_cannot_be_given_has_a_reason(reply: Reply, reason: str) -> None:
    with pytest.raises(ReplyError) as caught:
        check_reply(reply)
    assert error_reason(f"environment: {type(caught.value).__name__}: {caught.value}") == reason


@pytest.mark.parametrize("count", [1, 8, 50, 99, 100, 101, 500])
@pytest.mark.parametrize("word", ["calculator", "a.rather-long_name", "x"])
def test_no_word_of_a_note_is_cut_into_another(word: str, count: int) -> None:
    note = check_reply(Reply(note=" ".join([word] * count))).note
    assert len(note) <= MOST_NOTE_CHARACTERS
    assert len(note.split()) == min(count, (MOST_NOTE_CHARACTERS + 1) // (len(word) + 1))
    metrics = exchange_metrics([replace(ROLLOUT, exchanges=(Exchange("", Reply(note=note), 4, 4),))])
    assert [name for name in metrics if "/note/" in name] == [f"environment/note/{word}"]


def test_a_word_without_end_is_not_counted() -> None:
    assert check_reply(Reply(note="x" * 5000)).note == ""


def test_notes_that_hold_numbers_do_not_become_thousands_of_metrics() -> None:
    notes = [Exchange("a", Reply(note=f"guess_{i} asked"), 2, 2) for i in range(500)]
    metrics = exchange_metrics([replace(ROLLOUT, exchanges=tuple(notes))])
    counted = {name: value for name, value in metrics.items() if name.startswith("environment/note/")}
    assert len(counted) == 51
    assert counted["environment/note/asked"] == 500
    assert counted["environment/note/others"] == 451
