"""Messages of a conversation, spoken and heard, and which piece of it earned which part of a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AUDIO_PATCH = "<audio_patch>"
"""Mark of a clip's place in a message, one for each clip, in their order. A prompt without clips has it as plain text."""

MORE = "<more>"
"""Behind which a policy that hears a sound while it goes on waits for its next piece."""

RewardAt = Literal["end", "turns", "spans"]
"""Place at which a reward is paid: the end of a sample, the end of the turn that earned it, the end of the piece."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `AUDIO_PATCH` in its content marks the place of a clip."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Target of supervised training: the chain of thought (may be empty) and the answer after it."""

    reasoning: str
    response: str
    is_cut: bool = False
    """True where the chain was cut short: the tag that closes it was put there by force, and is not learned."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One audio clip, not yet decoded: the path of a file, or its encoded bytes."""

    path: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An environment's reply to what the policy has written so far.

    Messages of the roles `user` and `tool` begin a new turn, after which the policy answers. A single message of the role
    `assistant` is put into the policy's own turn, which goes on behind it. A reply without messages lets the policy go on
    where it paused.

    Example: the answer of a tool, and the stretch of a clip put behind a tag that asked for it.
        >>> Reply((Message("tool", "14"),), note="calculator").last
        False
        >>> heard = Reply((Message("assistant", AUDIO_PATCH),), (Clip("one_to_two_seconds.wav"),), note="listen")
    """

    messages: tuple[Message, ...] = ()
    clips: tuple[Clip, ...] = ()
    """Clips that stand at the marks in the messages, in order."""
    reward: float | None = None
    """Reward of what the policy wrote before this reply; added to the sample's score."""
    note: str = ""
    """A word under which the metrics count the reply: a tool's name, or what was wrong with a call."""
    last: bool = False
    """True where the rollout ends with this reply, whose messages nobody reads any more."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A piece of what the policy wrote, up to a pause or the end of its turn, and the environment's reply."""

    text: str
    """Text that the policy wrote since the last reply, without the end token."""
    reply: Reply
    start: int
    """Index in the rollout's tokens at which the reply stands."""
    end: int
    """Index after its last token; `start` where it added none."""

    @property
    def is_inside(self) -> bool:
        """Return whether the policy's turn goes on behind the reply."""
        return all(message.role == "assistant" for message in self.reply.messages)


def open_turn(exchanges: Sequence[Exchange]) -> str:
    """Return the text of the turn that the policy writes after these exchanges, up to the last reply; "" for a new turn."""
    text = ""
    for exchange in exchanges:
        if exchange.reply.last:  # of a rollout that is over: the turn before it is the last one
            break
        said = "".join(message.content for message in exchange.reply.messages)
        text = text + exchange.text + said if exchange.is_inside else ""
    return text


@dataclass(frozen=True, slots=True)
class RewardSpan:
    """A piece of a sample that earned a part of its score.

    Example: 0.5 of the score were earned by the first ten characters of the last turn's text.
        >>> RewardSpan(0, 10, 0.5)
        RewardSpan(start=0, end=10, score=0.5, unit='characters')
    """

    start: int
    end: int
    """Index after its last character or token."""
    score: float
    unit: Literal["characters", "tokens"] = "characters"
    """`characters` of the rollout's `text`, or `tokens`, of all that it has."""
