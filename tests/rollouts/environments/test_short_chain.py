"""A chain is closed by force behind its last step that is allowed, and only there."""

from __future__ import annotations

import pytest
from samples import paused_rollout

from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.messages import Exchange
from rl.types import Message, Prompt, Reply
from rollouts.environments.short_chain import step

BY = " then "


def play(*pieces: str, steps: int = 1) -> list[Reply | None]:
    """The replies to what a policy writes, piece by piece."""
    prompt, text = Prompt("p", (Message("user", "?"),)), "<think>\n"
    exchanges: list[Exchange] = []
    replies: list[Reply | None] = []
    for piece in pieces:
        text += piece
        rollout = paused_rollout(prompt, text, exchanges)
        replies.append(reply := step(prompt, rollout, BY, steps))
        assert reply
        text += "".join(message.content for message in reply.messages)
        exchanges.append(Exchange(piece if exchanges else f"<think>\n{piece}", reply, 4, 4))
    return replies


CLOSED = Reply((Message("assistant", "\n</think>\n"),), note="closed")


@pytest.mark.parametrize(
    ("pieces", "steps", "replies"),
    [
        (("3 then ", "i hear 3"), 1, [CLOSED, Reply()]),
        (("3 then ", "4 makes 7 then ", "i hear 3"), 2, [Reply(), CLOSED, Reply()]),
        (("3 then ", "4 makes 7\n</think>\ni hear 3"), 2, [Reply(), Reply()]),
        (("3\n</think>\ni hear 3 then ", "4"), 1, [Reply(), Reply()]),
        (("it ends here",), 1, [Reply()]),
    ],
    ids=["first step", "second step", "ends by itself", "in the answer", "no answer"],
)
def test_it_closes_once_and_in_the_chain(pieces: tuple[str, ...], steps: int, replies: list[Reply]) -> None:
    assert play(*pieces, steps=steps) == replies


def test_it_closes_in_the_models_own_tokens() -> None:
    chat = Chat(byte_tokenizer(), think=True)
    written = [*b"3 then "]
    closing = chat.reply(CLOSED.messages, written[-1])
    assert closing == chat.closing
    assert chat.turn([*written, *closing, *b"3"]) == "<think>\n3 then \n</think>\n3"
