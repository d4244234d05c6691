"""Finds the earlier answer that a harness's question continues, and the token ids to send for it.

Ids that were written stay as the engine saw them. A question continues a conversation if its messages begin with those
of an earlier question and its answer, as the harness was given it; only what is new is encoded, in the chat template's
own form (`ChatFormat.reply`). Anything else begins a new conversation in the same session, and is counted by the reason
why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rl.messages import Clip, Message
from rl.think import THINK_CLOSE
from rollouts.chat_format import ChatFormat
from rollouts.episodes import CHAIN_KEPT
from rollouts.harness.answers import Answer
from rollouts.harness.asks import Ask, ClientMessage, as_messages, clips_of
from rollouts.harness.settings import AskError
from rollouts.requests import Completion


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """Ids that the policy answers a question after."""

    parent: Piece | None
    """Answer that the question continues; None for a new conversation."""
    messages: tuple[Message, ...]
    """Messages that are new since the parent."""
    added_clips: tuple[Clip, ...]
    """Clips in them."""
    ids: tuple[int, ...]
    """Ids to send, one audio token for each clip."""
    clips: tuple[Clip, ...]
    """All clips, in order."""
    length: int
    """Tokens once the engine has expanded the audio."""
    notes: tuple[str, ...] = ()
    """Words under which the question is counted in the metrics."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """An answer of the policy, with the conversation that it stands in."""

    number: int
    """Number of its question in the session."""
    opening: Opening
    ask: Ask
    answer: Answer
    completion: Completion
    text: str
    """Text of the turn, its chain included, without the end token."""
    engine: int | None
    """Index of the engine whose cache holds the conversation."""

    @property
    def conversation(self) -> tuple[ClientMessage, ...]:
        """The conversation as a harness that goes on repeats it."""
        return (*self.ask.conversation, self.answer.message)

    @property
    def response_ids(self) -> list[int]:
        """Ids that the policy wrote."""
        return self.completion.tokens[self.completion.prompt_length :].tolist()

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the conversation, one audio token for each clip, with those that were written."""
        return (*self.opening.ids, *self.response_ids)


def begin_or_continue(pieces: Sequence[Piece], ask: Ask, chat: ChatFormat, is_first: bool) -> Opening:
    """Return the ids of a question: it continues the longest earlier conversation that it begins with, else begins a
    new one. `is_first`: no question was asked in its session before. Raises AskError for what the template or the model
    cannot take."""
    parent = find_parent(pieces, ask)
    # No engine can continue after an audio token that the policy wrote itself: such a conversation is encoded anew,
    # with a space in its place.
    has_audio_token = parent is not None and chat.audio_token in parent.response_ids
    if parent is not None and not has_audio_token:
        opening = _continue(parent, ask, chat)
        if opening is not None:
            is_branch = any(piece.opening.parent is parent for piece in pieces)
            return replace(opening, notes=(*opening.notes, "began_branch")) if is_branch else opening
    reason = find_reason(pieces, ask) if parent is None else "template"
    if has_audio_token:
        reason = "audio_token"
    if any(turn.calls for turn in ask.conversation):
        text = f"tool_calls in a conversation that begins here ({reason}): only one that goes on with its answers may have them"
        raise AskError("calls", f"messages: {text}; write such turns as text")
    opening = _begin(ask, chat)
    return opening if is_first else replace(opening, notes=(f"began_{reason}",))


def find_parent(pieces: Sequence[Piece], ask: Ask) -> Piece | None:
    """Return the answer with the longest conversation that the question begins with, or None if there is none."""
    # With other tools the beginning of the prompt, where the template shows them, would be another one.
    parents = [
        piece
        for piece in pieces
        if piece.ask.tools_key == ask.tools_key and _begins_with(ask.conversation, piece.conversation)
    ]
    # Of two that look the same to the harness the newer: it may have asked again after a time-out.
    return max(parents, key=lambda piece: (len(piece.conversation), piece.number), default=None)


def find_reason(pieces: Sequence[Piece], ask: Ask) -> str:
    """Return the word for why a question goes on with no earlier conversation of its session."""
    if any(_begins_with(ask.conversation, piece.conversation) for piece in pieces):
        return "tools"
    if any(_begins_with(piece.conversation, ask.conversation) for piece in pieces):
        return "again"
    common = max((_count_common(ask.conversation, piece.conversation) for piece in pieces), default=0)
    if not common:
        return "conversation"
    # The first difference is an answer that the harness has rewritten, or another message.
    is_answer = ask.conversation[common].message.role == "assistant"
    return "answer_changed" if is_answer else "messages_changed"


def _begins_with(conversation: Sequence[ClientMessage], beginning: Sequence[ClientMessage]) -> bool:
    return len(conversation) > len(beginning) and _count_common(conversation, beginning) == len(beginning)


def _count_common(first: Sequence[ClientMessage], second: Sequence[ClientMessage]) -> int:
    count = 0
    for one, another in zip(first, second, strict=False):
        if not one.is_same(another):
            break
        count += 1
    return count


def _continue(parent: Piece, ask: Ask, chat: ChatFormat) -> Opening | None:
    """Return the ids that continue after an answer; None if the template cannot express the new messages after a
    turn."""
    new = ask.conversation[len(parent.conversation) :]
    messages, clips = as_messages(new), clips_of(new)
    last_id = parent.response_ids[-1]
    if any(message.role == "assistant" for message in messages):
        return None
    try:
        new_ids = chat.reply(messages, last_id, clips)
        length = len(chat.reply(messages, last_id, clips, expand=True)) if clips else len(new_ids)
    except ValueError as error:
        if clips:
            raise AskError("audio", str(error)) from error
        return None
    # A chain that the template would strip from an earlier turn stays, since the policy wrote it; this is counted.
    drops_chain = THINK_CLOSE in parent.text and any(chat.drops_chain(message.role) for message in messages)
    notes = (CHAIN_KEPT,) if drops_chain else ()
    all_clips = (*parent.opening.clips, *clips)
    return Opening(
        parent, messages, clips, (*parent.ids, *new_ids), all_clips, len(parent.completion.tokens) + length, notes
    )


def _begin(ask: Ask, chat: ChatFormat) -> Opening:
    """Return the ids of a conversation that begins."""
    messages, clips = as_messages(ask.conversation), clips_of(ask.conversation)
    try:
        ids = tuple(chat.prompt(messages, clips, tools=ask.tools))
        length = len(chat.prompt(messages, clips, expand=True, tools=ask.tools)) if clips else len(ids)
    except ValueError as error:
        raise AskError("audio" if clips else "template", str(error)) from error
    return Opening(None, messages, clips, ids, clips, length)
