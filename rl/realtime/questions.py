"""Questions in OpenAI's form of `/v1/chat/completions`, in tokens. What is not done is refused in one line, not ignored."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from rl.realtime.stream import Question
from rollouts.chat_format import ChatFormat
from rollouts.harness.asks import Ask, as_messages, clips_of, read_ask
from rollouts.harness.settings import AskError, shorten

OWN_SETTINGS = ("return_token_ids", "modalities", "audio")
"""Settings that are read here, and not by the endpoint for agents."""

CHARACTERS_A_TOKEN = 64
"""Characters of a token, more than any text has on average."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A question, and the form in which its client wants the answer."""

    question: Question
    is_streamed: bool
    with_usage: bool
    with_ids: bool
    """True where each event brings the ids of its tokens."""
    with_audio: bool
    """True where the answer is to be heard, too."""


class QuestionReader:
    """Reads the questions to one model."""

    def __init__(self, chat: ChatFormat, most_tokens: int, temperature: float, has_voice: bool) -> None:
        """`most_tokens` is the longest conversation; `temperature` that of a question that names none; `has_voice`: an answer can
        be heard."""
        self.chat, self.most_tokens, self.temperature, self.has_voice = chat, most_tokens, temperature, has_voice
        self._lock = threading.Lock()  # tokenizers keep settings of their last call

    def read(self, values: Mapping[str, object]) -> Wish:
        """Return the question of a request's JSON. Raises AskError."""
        with_audio = self._read_modalities(values.get("modalities"))
        with_ids = values.get("return_token_ids")
        if not isinstance(with_ids, bool | None):
            raise AskError("setting", f"return_token_ids: {shorten(with_ids)} is neither true nor false")
        ask = read_ask({key: value for key, value in values.items() if key not in OWN_SETTINGS})
        for name, value in (("tools", ask.tools), ("stop", ask.stop), ("logprobs", ask.logprobs)):
            if value:
                raise AskError("setting", f"{name}: not done for an answer of two decoders; leave it out")
        return Wish(self._question(ask), ask.is_streamed, ask.with_usage, bool(with_ids), with_audio)

    def _read_modalities(self, value: object) -> bool:
        """Return whether the answer is to be heard."""
        if value in (None, ["text"]):
            return False
        if value not in (["text", "audio"], ["audio", "text"]):
            raise AskError("setting", f'modalities: {shorten(value)}; give ["text"] or ["text", "audio"]')
        if not self.has_voice:
            raise AskError(
                "setting", 'modalities: this server has no voice; start it with --voice, or ask for ["text"]'
            )
        return True

    def _question(self, ask: Ask) -> Question:
        messages, clips = as_messages(ask.conversation), clips_of(ask.conversation)
        if any(turn.calls for turn in ask.conversation):
            raise AskError("messages", "messages: a tool call; this server calls no tools")
        characters = sum(len(message.content) for message in messages)
        if (
            characters > CHARACTERS_A_TOKEN * self.most_tokens
        ):  # a text of megabytes would keep the tokenizer from the others
            raise AskError("length", f"messages: {characters:,} characters do not fit into {self.most_tokens} tokens")
        try:
            with self._lock:
                tokens = tuple(self.chat.prompt(messages, clips))
                # A clip is one token in what the engine is sent, and many in what the model hears: they take the room.
                length = len(self.chat.prompt(messages, clips, expand=True)) if clips else len(tokens)
        except ValueError as error:  # what the chat template does not hold, and sound for a model that reads
            raise AskError("messages", f"messages: {error}") from error
        if length >= self.most_tokens:
            raise AskError(
                "length", f"messages: {length} tokens leave no room for an answer; the model takes {self.most_tokens}"
            )
        room = min(self.most_tokens - length, ask.max_tokens or self.most_tokens)
        temperature = self.temperature if ask.temperature is None else ask.temperature
        seed = secrets.randbits(48) if ask.seed is None else ask.seed
        return Question(ask.digest(), tokens, length, room, temperature, seed, clips)
