"""Sound that goes on while the policy thinks comes piece by piece, in order, and each piece once."""

from __future__ import annotations

import pytest
from samples import paused_rollout

from rl.messages import Exchange
from rl.types import Clip, Message, Prompt, Reply
from rollouts.environments.arriving import step

PIECES = tuple(Clip(f"{i}.wav") for i in range(1, 4))
PROMPT = Prompt("p", (Message("user", "<audio_patch>sum?"),), clips=PIECES[:1], later=PIECES[1:])


def play(*pieces: str, prompt: Prompt = PROMPT) -> list[Reply | None]:
    """The replies to what a policy writes, piece by piece."""
    text = ""
    exchanges: list[Exchange] = []
    replies: list[Reply | None] = []
    for piece in pieces:
        text += piece
        rollout = paused_rollout(prompt, text, exchanges)
        replies.append(reply := step(prompt, rollout))
        if reply is None or reply.last:
            break
        text += "".join(message.content for message in reply.messages)
        exchanges.append(Exchange(piece, reply, 4, 4))
    return replies


def notes(*pieces: str, prompt: Prompt = PROMPT) -> list[str]:
    return [reply.note if reply else "over" for reply in play(*pieces, prompt=prompt)]


def test_pieces_come_in_order_into_the_chain() -> None:
    first, second, end = play("<think>\n3<more>", " then 4 makes 7<more>", " then 5 makes 12\n</think>\n12")
    assert first == Reply((Message("assistant", "<audio_patch>"),), PIECES[1:2], note="heard")
    assert second == Reply((Message("assistant", "<audio_patch>"),), PIECES[2:], note="heard")
    assert end is None


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (("12",), ["ended_early"]),
        (("3<more>", "12"), ["heard", "ended_early"]),
        (("3<more>", "4<more>", "5<more>", "12"), ["heard", "heard", "nothing_more", "over"]),
        (
            ("3<more>\n", "4<more> ", "5<more>", "<more>", "12"),
            ["heard", "heard", "nothing_more", "nothing_more", "over"],
        ),
    ],
)
def test_who_leaves_before_the_end_or_waits_beyond_it_is_counted(pieces: tuple[str, ...], expected: list[str]) -> None:
    assert notes(*pieces) == expected


def test_a_prompt_that_is_heard_whole_has_nothing_to_wait_for() -> None:
    whole = Prompt("p", PROMPT.messages, clips=PIECES[:1])
    assert notes("12", prompt=whole) == ["over"]
    assert notes("3<more>", "12", prompt=whole) == ["nothing_more", "over"]
