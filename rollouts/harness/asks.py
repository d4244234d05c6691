"""Reads questions of a harness in OpenAI's form of `/v1/chat/completions`, and refuses what is not supported.

Nothing is silently ignored: a setting that would change what is sampled is honoured, or refused in one line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rl.audio import check_decodable
from rl.config import HIGHEST_TEMPERATURE
from rl.messages import AUDIO_PATCH, Clip, Message
from rollouts.harness.settings import AskError, check_setting, shorten

# `developer` is OpenAI's newer name of the role `system`, by which chat templates know it.
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""Roles of messages, by their names in a request."""
FOLLOWED_KEYS = frozenset(("role", "content", "tool_calls"))
"""Keys of a message that are shown to the policy; calls are an assistant's."""
KEYS_WITHOUT_EFFECT = frozenset(
    (
        "id",
        "name",
        "tool_call_id",  # answers of tools come in the order of the calls
        "reasoning_content",  # repeats the chain of an earlier answer, whose token ids are kept here
        "reasoning",
        "annotations",
        "provider_specific_fields",
    )
)
"""Keys of a message that clients repeat from an earlier answer, or send for their own bookkeeping."""
MOST_STOPS = 16
"""Most texts of one request at which an answer stops."""


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A message of a harness."""

    message: Message
    clips: tuple[Clip, ...] = ()
    """Clips at the marks of its content."""
    calls: tuple[tuple[str, str], ...] = ()
    """(name, arguments as JSON with sorted keys) of the tool calls of an assistant's message."""

    def is_same(self, earlier: ClientMessage) -> bool:
        """Return whether the message repeats an earlier one. White space at the edges is ignored: many harnesses strip
        answers."""
        return (
            self.message.role == earlier.message.role
            and self.message.content.strip() == earlier.message.content.strip()
            and self.calls == earlier.calls
            and [clip.data for clip in self.clips] == [clip.data for clip in earlier.clips]
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """A question of a harness: the conversation, and how the policy is to answer."""

    conversation: tuple[ClientMessage, ...]
    tools: tuple[Mapping[str, object], ...] = ()
    """JSON schemas of what the policy may call."""
    max_tokens: int | None = None
    temperature: float | None = None
    """Sampling temperature; None: that of the session."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    is_streamed: bool = False
    """True for an answer in the form of events, which are sent together once it is complete."""
    with_usage: bool = False
    """True for a last event with the number of tokens."""

    @property
    def tools_key(self) -> str:
        """The tools as one text, to tell whether they have changed."""
        return json.dumps(self.tools, sort_keys=True)

    @property
    def tool_names(self) -> set[str]:
        """Names of what the policy may call."""
        return {cast("Mapping[str, str]", tool["function"])["name"] for tool in self.tools}

    def digest(self) -> str:
        """Return a digest of the conversation, by which its seed is told from others of its session."""
        parts = [
            [turn.message.role, turn.message.content, turn.calls, *map(_fingerprint, turn.clips)]
            for turn in self.conversation
        ]
        text = json.dumps([parts, self.tools, self.seed], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()


def read_ask(body: object) -> Ask:
    """Return the question of a request's JSON. Raises AskError."""
    if not isinstance(body, dict):
        raise AskError("body", 'the body is no JSON object; send {"messages": [...]}')
    values = cast("dict[str, object]", body)
    for key, value in values.items():
        check_setting(key, value)
    messages = values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise AskError("messages", 'messages: expected a list of at least one {"role": ..., "content": ...}')
    conversation = tuple(_read_message(message, i) for i, message in enumerate(cast("list[object]", messages)))
    if conversation[-1].message.role == "assistant":
        raise AskError("messages", "messages: end with an assistant's turn; the policy answers a user or a tool")
    # The newer and the older name of one limit: of two that differ the lower holds.
    limits = [_whole(values, key, 1) for key in ("max_completion_tokens", "max_tokens")]
    return Ask(
        conversation,
        _read_tools(values.get("tools")),
        min((limit for limit in limits if limit is not None), default=None),
        _read_temperature(values.get("temperature")),
        _read_stop(values.get("stop")),
        _whole(values, "seed", None),
        _read_flag(values, "logprobs"),
        _read_flag(values, "stream"),
        _read_stream_options(values.get("stream_options")),
    )


def _whole(values: Mapping[str, object], key: str, lowest: int | None) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or (lowest is not None and value < lowest):
        bound = "" if lowest is None else f" of at least {lowest}"
        raise AskError("setting", f"{key}: {shorten(value)} is no whole number{bound}")
    return value


def _read_flag(values: Mapping[str, object], key: str) -> bool:
    value = values.get(key)
    if not isinstance(value, bool | None):
        raise AskError("setting", f"{key}: {shorten(value)} is neither true nor false")
    return bool(value)


def _read_stream_options(value: object) -> bool:
    match value:
        case None:
            return False
        case {"include_usage": bool(with_usage)} if not any(_others(value, "include_usage")):  # unless they are off
            return with_usage
        case _:
            raise AskError("setting", f"stream_options: {shorten(value)}; give include_usage or leave it out")


def _others(value: object, key: str) -> list[object]:
    """Return the values of the other keys of a mapping."""
    values = cast("dict[str, object]", value)
    return [other for name, other in values.items() if name != key]


def _read_temperature(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= HIGHEST_TEMPERATURE:
        raise AskError("setting", f"temperature: {shorten(value)} is no number from 0 to {HIGHEST_TEMPERATURE:g}")
    return float(value)


def _read_stop(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    texts: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
    if len(texts) > MOST_STOPS or not all(isinstance(text, str) and text for text in texts):
        raise AskError(
            "setting", f"stop: {shorten(cast('object', value))} is no text, nor a list of at most {MOST_STOPS} texts"
        )
    return tuple(_without_surrogates(texts))


def _without_surrogates(values: list[Any]) -> list[Any]:  # Any: JSON
    """Return JSON whose texts, keys too, hold no lone surrogates, which no tokenizer takes. Raises AskError where it is too deep
    to be shown."""
    try:
        return json.loads(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise AskError("tools", "tools: nested too deeply") from None


def _read_tools(value: object) -> tuple[Mapping[str, object], ...]:
    if value is None:
        return ()
    tools = _without_surrogates(cast("list[object]", value)) if isinstance(value, list) else [None]
    for tool in tools:
        match tool:
            case {"type": "function", "function": {"name": str()}}:
                pass
            case _:
                form = '[{"type": "function", "function": {"name": ..., "parameters": ...}}]'
                raise AskError("tools", f"tools: expected {form}")
    return tuple(cast("list[Mapping[str, object]]", tools))


def _read_message(value: object, number: int) -> ClientMessage:
    place = f"messages[{number}]"
    if not isinstance(value, dict):
        raise AskError("messages", f'{place}: {shorten(value)} is no {{"role": ..., "content": ...}}')
    message = cast("dict[str, object]", value)
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise AskError("messages", f"{place}.role: {shorten(role)}; use {', '.join(ROLES)}")
    followed = FOLLOWED_KEYS if role == "assistant" else FOLLOWED_KEYS - {"tool_calls"}
    for key in message.keys() - followed - KEYS_WITHOUT_EFFECT:
        if message[key] not in (None, [], {}, ""):
            raise AskError(
                "messages", f"{place}.{key[:60]}: this endpoint does not show it to the policy; leave it out"
            )
    calls = _read_calls(message.get("tool_calls"), place) if role == "assistant" else ()
    text, clips = _read_content(message.get("content"), f"{place}.content", role == "assistant")
    return ClientMessage(Message(ROLES[role], text), clips, calls)


def _read_content(value: object, place: str, may_lack: bool) -> tuple[str, tuple[Clip, ...]]:
    """Return (text with a mark for each clip, the clips)."""
    if isinstance(value, str):
        return without_marks(value), ()
    if value is None and may_lack:
        return "", ()
    if not isinstance(value, list):
        raise AskError("content", f"{place}: {shorten(value)} is neither text nor a list of parts")
    texts: list[str] = []
    clips: list[Clip] = []
    for i, part in enumerate(cast("list[object]", value)):
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(without_marks(text))
            case {"type": "input_audio", "input_audio": {"data": str(data)}}:
                texts.append(AUDIO_PATCH)
                clips.append(_read_clip(data, f"{place}[{i}]"))
            case {"type": str(kind)}:
                raise AskError("content", f"{place}[{i}]: a part of the type '{kind[:40]}'; use text or input_audio")
            case _:
                raise AskError("content", f"{place}[{i}]: {shorten(part)} is no part with a type")
    return "".join(texts), tuple(clips)


def without_marks(text: str) -> str:
    """Return a text without marks of clips, which would stand for sounds, and without lone surrogates."""
    # Replaced by a space, which no mark contains: otherwise the text on both sides could join into a new mark.
    return text.encode("utf-8", "replace").decode().replace(AUDIO_PATCH, " ")


def _read_clip(data: str, place: str) -> Clip:
    try:
        clip = Clip(data=base64.b64decode(data, validate=True))
        check_decodable(clip)
    except binascii.Error:
        raise AskError("audio", f"{place}.input_audio.data: is not base64") from None
    except ValueError as error:
        raise AskError("audio", f"{place}: {error}") from error
    return clip


def _read_calls(value: object, place: str) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    calls: list[tuple[str, str]] = []
    for call in cast("list[object]", value) if isinstance(value, list) else [None]:
        match call:
            case {"function": {"name": str(name), "arguments": str(arguments)}}:
                calls.append((name, sorted_json(arguments)))
            case _:
                raise AskError("messages", f'{place}.tool_calls: expected [{{"function": {{"name", "arguments"}}}}]')
    return tuple(calls)


def sorted_json(arguments: str) -> str:
    """Return JSON with sorted keys, or the text itself if it is no JSON. A client may send back the same arguments in
    another spelling, and must be recognised by them."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _fingerprint(clip: Clip) -> str:
    return hashlib.blake2b(clip.data or b"", digest_size=12).hexdigest()


def as_messages(turns: Sequence[ClientMessage]) -> tuple[Message, ...]:
    """Return what was said as messages, without the clips."""
    return tuple(turn.message for turn in turns)


def clips_of(turns: Sequence[ClientMessage]) -> tuple[Clip, ...]:
    """Return the clips of what was said, in order."""
    return tuple(clip for turn in turns for clip in turn.clips)
