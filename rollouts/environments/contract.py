"""Converts what an environment's process and the run exchange: a rollout so far in, a reply out as plain data for JSON.

A reply is checked in the process that makes it, so that a faulty one costs only its sample: messages of known roles,
texts and sounds of bounded size, clips that can be decoded.
"""

from __future__ import annotations

import base64
import binascii
import math
import numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from rl.audio import content, waveform
from rl.messages import AUDIO_PATCH, Clip, Message, Reply
from rl.types import Rollout
from rollouts.episodes import Answer

ROLES = ("user", "tool", "assistant")
"""Roles of a reply's messages."""
MOST_CHARACTERS = 1 << 16
"""Most characters of a reply's messages together."""
MOST_CLIPS, MOST_SOUND_BYTES = 16, 6 << 20
"""Most clips of a reply, and most bytes of them together, encoded as files."""
MOST_STATE_BYTES = 1 << 20
"""Most bytes of what an environment keeps between two turns of a rollout, pickled."""
MOST_REWARD = 1e6
"""Largest absolute value of a reply's reward."""
MOST_NOTE_CHARACTERS = 1000
"""Most characters of a reply's note; words beyond them are not counted."""
# Replaced, since each word of a note becomes part of a metric's name.
_NOTE = re.compile(r"[^\w. -]+")


class ReplyError(ValueError):
    """Fault of a reply; the metrics count errors by the names of these classes."""


class ReplyTypeError(ReplyError):
    """Value of another type where a reply, a message or a clip belongs."""


class ReplyMessageError(ReplyError):
    """Messages that cannot stand in a conversation."""


class ReplySizeError(ReplyError):
    """More text or sound than a reply may have."""


class ReplyClipError(ReplyError):
    """A clip that cannot be heard, or has no place."""


class ReplyRewardError(ReplyError):
    """A reward that is no number in bounds."""


class ReplyStateError(ReplyError):
    """State of a rollout that cannot be kept, or does not come back."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A rollout in which the policy has paused or ended its turn."""

    rollout: Rollout
    state: bytes | None
    """Memory of the environment; None at the first turn."""


def to_wire(reply: object, state: bytes | None) -> dict[str, object]:
    """Return an environment's answer as plain data. Raises ReplyError for anything but None or a Reply within the
    limits."""
    return {"reply": None if reply is None else _reply_to_wire(reply), "state": _encode(state), "error": None}


def error_to_wire(error: str) -> dict[str, object]:
    """Return the answer about a rollout to which the environment could not reply."""
    return {"reply": None, "state": None, "error": error[:2000]}


def read_answer(answer: object) -> Answer | None:
    """Return the answer from its JSON, or None where it is no valid one."""
    if not isinstance(answer, dict):
        return None
    values = cast("dict[str, object]", answer)
    error, state = values.get("error"), values.get("state")
    if isinstance(error, str):
        return Answer(error=error)
    if "reply" not in values or not isinstance(state, str | None):
        return None
    if values["reply"] is None:
        return Answer()
    reply = _read_reply(values["reply"])
    return None if reply is None else Answer(reply, _decode(state))


def check_reply(reply: Reply) -> Reply:
    """Return the reply with its clips as bytes. Raises ReplyError for one that cannot be given."""
    messages = check_messages(reply)
    roles = [message.role for message in messages]
    if "assistant" in roles and len(roles) > 1:
        raise ReplyMessageError(
            "a message of the role assistant stands alone in a reply: it goes on with the policy's turn"
        )
    size = sum(len(message.content) for message in messages)
    if size > MOST_CHARACTERS:
        raise ReplySizeError(f"a reply of {size:,} characters; at most {MOST_CHARACTERS:,} are given")
    clips = tuple(_check_clip(clip) for clip in _check_sequence(reply.clips, "clips", "Reply(messages, (clip,))"))
    places = sum(message.content.count(AUDIO_PATCH) for message in messages)
    # Without clips a mark is plain text; but in the policy's own turn it would tell of a sound that was not heard.
    if places != len(clips) and (clips or roles == ["assistant"]):
        raise ReplyClipError(
            f"a reply with {len(clips)} clips and {places} {AUDIO_PATCH} in its messages; one for each clip"
        )
    if len(clips) > MOST_CLIPS or sum(len(clip.data or b"") for clip in clips) > MOST_SOUND_BYTES:
        raise ReplySizeError(
            f"a reply of {len(clips)} clips; at most {MOST_CLIPS}, together {MOST_SOUND_BYTES >> 20} MB"
        )
    reward: object = reply.reward
    if reward is not None and not (isinstance(reward, numbers.Real) and abs(float(reward)) <= MOST_REWARD):
        raise ReplyRewardError(f"a reply with the reward {reward!r}, which is no number in ±{MOST_REWARD:g}")
    note = _cut_words(_NOTE.sub("_", str(reply.note)).strip("_ "))
    return Reply(messages, clips, None if reward is None else float(cast("float", reward)), note, bool(reply.last))


def _cut_words(note: str) -> str:
    """Return the words of a note that are counted. A word at the limit is dropped, since a part of it would be another
    word."""
    words = note[: MOST_NOTE_CHARACTERS + 1].split()
    if len(note) > MOST_NOTE_CHARACTERS and not note[MOST_NOTE_CHARACTERS].isspace():
        words = words[:-1]
    return " ".join(words)


def check_messages(reply: Reply) -> tuple[Message, ...]:
    """Return the reply's messages as they are given: a list of them as a tuple, text without lone surrogates. Raises ReplyError
    for anything but messages."""
    messages = _check_sequence(reply.messages, "messages", "Reply((Message(role, content),))")
    return tuple(_check_message(message) for message in messages)


def _reply_to_wire(reply: object) -> dict[str, object]:
    if not isinstance(reply, Reply):
        raise ReplyTypeError(f"answered {type(reply).__name__}, not a Reply(messages, …) of rl.types or None")
    checked = check_reply(reply)
    return {
        "messages": [[message.role, message.content] for message in checked.messages],
        "clips": [_encode(clip.data) for clip in checked.clips],
        "reward": checked.reward,
        "note": checked.note,
        "last": checked.last,
    }


def _check_sequence(value: object, kind: str, form: str) -> Iterable[object]:
    """Return the value where it is a sequence. Raises ReplyTypeError for one thing alone, as where a comma is forgotten."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ReplyTypeError(f"a reply whose {kind} are {type(value).__name__}; make them a tuple: {form}")
    return cast("Iterable[object]", value)


def _check_message(message: object) -> Message:
    if not isinstance(message, Message):
        raise ReplyTypeError(f"a reply holds {type(message).__name__}; make it a Message(role, content)")
    role, text = cast("tuple[object, object]", (message.role, message.content))
    if role not in ROLES:
        raise ReplyMessageError(f"a message of the role {role!r}; use {', '.join(ROLES)}")
    if not isinstance(text, str):
        raise ReplyTypeError(f"a message whose content is {type(text).__name__}; make it text")
    return Message(message.role, text.encode("utf-8", "replace").decode())


def _check_clip(clip: object) -> Clip:
    """Return the clip with its bytes, not its path: a file in the process's own folder is deleted with the process."""
    if not isinstance(clip, Clip):
        raise ReplyTypeError(f"a reply holds {type(clip).__name__} as a clip; make it a Clip(path=…) or Clip(data=…)")
    try:
        waveform(clip)
        return Clip(data=content(clip))
    except ValueError as error:
        raise ReplyClipError(str(error)) from error


def _read_reply(values: object) -> Reply | None:
    """Return a reply from its JSON; None where a process has written something else into its channel."""
    if not isinstance(values, dict):
        return None
    fields = cast("dict[str, object]", values)
    messages, clips = fields.get("messages"), fields.get("clips")
    if not isinstance(messages, list) or not isinstance(clips, list):
        return None
    match fields:
        # No `int`: `to_wire` has made a float of every reward.
        case {"reward": None | float() as reward, "note": str(note), "last": bool(last)}:
            read_messages = [_read_message(message) for message in cast("list[object]", messages)]
            data = [_decode(clip) for clip in cast("list[object]", clips)]
            if None in read_messages or None in data or (reward is not None and not math.isfinite(reward)):
                return None
            said = tuple(message for message in read_messages if message is not None)
            return Reply(said, tuple(Clip(data=sound) for sound in data), reward, note, last)
        case _:
            return None


def _read_message(message: object) -> Message | None:
    match message:
        case [str(role), str(text)]:
            return Message(role, text)
        case _:
            return None


def _encode(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _decode(text: object) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except binascii.Error:
        return None
