"""The text of what follows an assistant's turn: the messages with which an environment replies, in the template's own form.

Nothing that the policy wrote is encoded again: the reply is rendered behind a turn that stands for the policy's, and what
comes after that turn is taken. So whatever a template would change in earlier turns (chains that it drops, a system turn that
it moves) stays as the policy wrote and saw it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from rl.data.chat_template import SLOT, ChatTemplate, TurnFormat
from rl.data.control_tokens import ControlTokens
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import Message

TOOL = "tool"
"""Role of a tool's answer, where a template has one."""
_QUESTION, _WRITTEN, _CHAIN = (SLOT.format(i) for i in range(3))
_FIRST_REPLY = 3


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """Replies in one chat template."""

    template: ChatTemplate
    controls: ControlTokens
    turn: TurnFormat
    ends: Collection[int]
    """Ids of all tokens at which a turn of the policy is over."""

    def render(self, messages: Sequence[Message], last_id: int) -> tuple[str, str]:
        """Return (a text that ends as the policy's did, the text of the reply up to where the policy goes on). The messages'
        contents are guarded already; `last_id` is the last token that the policy wrote. Raises ValueError for messages that the
        template cannot hold."""
        roles = tuple(message.role for message in messages)
        between = self._between(roles)
        if between is None:
            raise ValueError(
                f"the chat template has no turns {', '.join(roles)} behind an assistant's; reply with the role user"
            )
        dialogue = [Message("user", _QUESTION), Message("assistant", _WRITTEN), *messages]
        head, _, tail = self.template.render(dialogue, open_turn=True).partition(_WRITTEN)
        tail = tail.removesuffix(self.turn.dropped) + self.turn.opening
        # After a letter, so that a tokenizer that marks the beginnings of texts, or of words, marks none here.
        if last_id not in self.ends:
            return f"{head}x", tail
        ending = self._ending(between, last_id)
        return f"{head}x{ending or self.turn.ending}", tail.removeprefix(ending)

    @property
    def has_tools(self) -> bool:
        """Return whether the template renders a tool's answer behind an assistant's turn, and not as the assistant's
        own words."""
        between = self._between((TOOL,))
        return between is not None and between != self._between(("assistant",))

    @property
    def has_tools_in_a_row(self) -> bool:
        """Return whether the template renders the answers of two tools one behind the other."""
        return self._between((TOOL, TOOL)) is not None

    def keeps_chains(self, role: str) -> bool:
        """Return whether the template would show the chain of an assistant's turn behind which a message of the role stands."""
        content = f"{THINK_OPEN}\n{_CHAIN}\n{THINK_CLOSE}\n{_WRITTEN}"
        reply = Message(role, SLOT.format(_FIRST_REPLY))
        turns = [Message("user", _QUESTION), Message("assistant", content), reply]
        return _CHAIN in self.template.render(turns, open_turn=True)

    def _between(self, roles: tuple[str, ...]) -> str | None:
        """Return the text between an assistant's turn and the first of the messages behind it; None where the template refuses
        or drops any of them."""
        replies = [Message(role, SLOT.format(_FIRST_REPLY + i)) for i, role in enumerate(roles)]
        turns = [Message("user", _QUESTION), Message("assistant", _WRITTEN), *replies]
        try:
            _, written, tail = self.template.render(turns, open_turn=True).partition(_WRITTEN)
        except ValueError:
            return None
        places = [tail.find(reply.content) for reply in replies]
        return tail[: places[0]] if written and min(places) >= 0 and places == sorted(places) else None

    def _ending(self, between: str, last_id: int) -> str:
        """Return the end of the assistant's turn in the text behind it, which the policy has written already; "" where the
        template writes none there."""
        token = self.controls.first(between)
        if token is None:
            return ""
        # GLM's turns end with the token of whoever speaks next: another end does not stand for it.
        is_written = self.controls.ids[token[0]] == last_id
        return between[: token.end()] if is_written or self._ends_alone(token[0]) else ""

    def _ends_alone(self, token: str) -> bool:
        """Return whether the template ends an assistant's turn with the token also where nobody speaks after it."""
        turns = [Message("user", _QUESTION), Message("assistant", _WRITTEN)]
        first = self.controls.first(self.template.render(turns, open_turn=False).partition(_WRITTEN)[2])
        return first is not None and first[0] == token


def join_tools(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with those of tools that stand in a row as one, a line break between their texts."""
    # Tools have one key, so that those in a row make a group; any other message has its index, and is a group alone.
    groups = groupby(enumerate(messages), key=lambda item: TOOL if item[1].role == TOOL else item[0])
    rows = [[message for _, message in group] for _, group in groups]
    return [Message(row[0].role, "\n".join(message.content for message in row)) for row in rows]
