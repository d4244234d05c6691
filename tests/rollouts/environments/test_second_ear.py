"""The external candidate is given where it is asked for, and an action takes what it names."""

from __future__ import annotations

import pytest
from samples import paused_rollout

from rl.messages import Exchange
from rl.types import Message, Prompt, Reply
from rollouts.environments.second_ear import step

OPEN = "<think>\n7 3 5"


def play(*pieces: str, external: object = "7 3 9", cost: float = 0.25) -> list[Reply | None]:
    """The replies to what a policy writes, piece by piece."""
    prompt, text = Prompt("p", (Message("user", "?"),), fields={"external": external}), ""
    exchanges: list[Exchange] = []
    replies: list[Reply | None] = []
    for piece in pieces:
        text += piece
        rollout = paused_rollout(prompt, text, exchanges)
        reply = step(prompt, rollout, cost)
        replies.append(reply)
        if reply is None:
            break
        text += "".join(message.content for message in reply.messages)
        exchanges.append(Exchange(piece, reply, 4, 4))
    return replies


def said(reply: Reply | None) -> tuple[str, float | None, str]:
    assert reply is not None
    return "".join(message.content for message in reply.messages), reply.reward, reply.note


def test_asking_costs_and_an_action_copies() -> None:
    asks, takes, end = play(f"{OPEN}<ask>", "\n</think>\n<external>", "")
    assert said(asks) == ("7 3 9</ask>", -0.25, "asked")
    assert said(takes) == ("7 3 9", None, "external")
    assert end is None
    assert said(play(f"{OPEN}<ask>", "\n</think>\n<internal>")[1]) == ("7 3 5", None, "internal")


def test_what_is_taken_unseen_costs_as_much() -> None:
    assert said(play(f"{OPEN}\n</think>\n<external>")[0]) == ("7 3 9", -0.25, "external")
    assert said(play(f"{OPEN}\n</think>\n<internal>")[0]) == ("7 3 5", None, "internal")
    replies = play(f"{OPEN}<ask>", "hm<ask>")
    assert [said(reply)[1] for reply in replies] == [-0.25, -0.25]  # to look twice is to pay twice


@pytest.mark.parametrize("external", ["", None, [], ["", ""]])
def test_who_heard_nothing_says_nothing(external: object) -> None:
    if external == []:
        with pytest.raises(ValueError, match=r"no transcript of an external recogniser"):
            play(f"{OPEN}<ask>", external=external)
        return
    replies = play(f"{OPEN}<ask>", "\n</think>\n<external>", "", external=external)
    assert [said(reply)[0] for reply in replies[:2]] == ["</ask>", ""]
    assert replies[2] is None


@pytest.mark.parametrize(
    "text",
    [
        f"{OPEN}<external>",
        f"{OPEN}\n</think>\nso <external>",
        f"{OPEN}\n</think>\n<ask>",
        f"{OPEN}\n</think>\n<internal>7<external>",
    ],
)
def test_an_action_out_of_place_tells_nothing(text: str) -> None:
    assert play(text)[0] == Reply(note="misplaced")


@pytest.mark.parametrize("rest", ["\n", "\n\n", " ", ",", ".\n", '"', "();", "</", ")\r\n", "。", "\u200b"])
def test_a_pause_ends_with_a_whole_token(rest: str) -> None:
    asks, takes, end = play(f"{OPEN}<ask>{rest}", f"\n</think>\n<external>{rest}", "")
    assert said(asks) == ("7 3 9</ask>", -0.25, "asked")
    assert said(takes) == ("7 3 9", None, "external")
    assert end is None
    assert said(play(f"{OPEN}<ask>{rest}", f"\n</think>\n<internal>{rest}")[1]) == ("7 3 5", None, "internal")
    assert said(play(f"{OPEN}\n</think>\n<external>{rest}")[0]) == ("7 3 9", -0.25, "external")


def test_a_word_in_the_last_token_is_no_sound_of_the_ear() -> None:
    assert said(play(f"{OPEN}<ask>hm")[0]) == ("7 3 9</ask>", -0.25, "asked")  # `>hm` may be one token
    for text in ("<internal>seven", "<external>7", "<external>7 3 9"):
        assert play(f"{OPEN}\n</think>\n{text}")[0] == Reply(note="misplaced")


@pytest.mark.parametrize("text", [f"{OPEN}\n</think>\n<rewrite>7 3 5", f"{OPEN}\n</think>\n7 3 5", OPEN, ""])
def test_the_end_of_a_turn_is_the_end(text: str) -> None:
    assert play(text) == [None]
