"""Paced answers in OpenAI's form: the events of a stream, and the one body of an answer that is not streamed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rl.realtime.growing_text import GrowingText
from rl.realtime.questions import Wish
from rl.realtime.stream import End, Thought, Word
from rollouts.chat_format import ChatFormat
from rollouts.harness.answers import MODEL

DONE = b"data: [DONE]\n\n"


@dataclass
class Report:
    """The answer to one question, told event by event."""

    id: str
    wish: Wish
    chat: ChatFormat
    created: int = field(default_factory=lambda: int(time.time()))
    thoughts: GrowingText = field(init=False)
    words: GrowingText = field(init=False)

    def __post_init__(self) -> None:
        self.thoughts, self.words = GrowingText(self.chat.written), GrowingText(self.chat.written)

    def tell(self, event: Thought | Word) -> tuple[dict[str, object], str]:
        """Return (what an event says as JSON, the words of it that are complete)."""
        is_word = isinstance(event, Word)
        text = (self.words if is_word else self.thoughts).add(event.tokens)
        return self._chunk({"content" if is_word else "reasoning_content": text}, event.tokens), text if is_word else ""

    def tell_audio(self, audio: bytes, phrase: str) -> dict[str, object]:
        """Return a phrase as sound."""
        data = base64.b64encode(audio).decode()
        return self._chunk({"audio": {"id": f"audio_{self.id}", "data": data, "transcript": phrase}}, ())

    def tell_silence(self, reason: str) -> dict[str, object]:
        """Return why nothing more can be heard."""
        return self._chunk({"audio": {"id": f"audio_{self.id}", "error": reason}}, ())

    def tell_end(self) -> tuple[list[dict[str, object]], str]:
        """Return (the last events, the words of them): what was left of a character, and what the answer took."""
        chunks, words = list[dict[str, object]](), self.words.rest()
        for name, text in (("reasoning_content", self.thoughts.rest()), ("content", words)):
            if text:
                chunks.append(self._chunk({name: text}, ()))
        return chunks, words

    def close(self, event: End) -> dict[str, object]:
        """Return the last event: why the answer ended, and what it took."""
        chunk = self._chunk({}, (), event.finish_reason) | {"pace": event.figures}
        return chunk | ({"usage": self.usage(event.figures)} if self.wish.with_usage else {})

    def usage(self, figures: Mapping[str, object]) -> dict[str, object]:
        """Return the tokens of prompt and answer; what was thought counts as answered, as OpenAI counts it."""
        thought, answered = figures["thought_tokens"], figures["answer_tokens"]
        assert isinstance(thought, int), "counted by the stream"
        assert isinstance(answered, int), "counted by the stream"
        prompt = self.wish.question.length
        return {
            "prompt_tokens": prompt,
            "completion_tokens": thought + answered,
            "total_tokens": prompt + thought + answered,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def _chunk(
        self, delta: Mapping[str, object], tokens: Sequence[int], reason: str | None = None
    ) -> dict[str, object]:
        choice: dict[str, object] = {"index": 0, "delta": delta, "finish_reason": reason}
        if self.wish.with_ids:
            choice["token_ids"] = list(tokens)
        head = {"id": self.id, "created": self.created, "model": MODEL, "object": "chat.completion.chunk"}
        return {**head, "choices": [choice]}


def as_event(chunk: Mapping[str, object]) -> bytes:
    """Return a chunk as an event of a stream."""
    return f"data: {json.dumps(chunk)}\n\n".encode()


def fold(chunks: Sequence[Mapping[str, Any]], report: Report) -> dict[str, object]:  # Any: JSON
    """Return the chunks of a whole answer as one body."""
    message, ids = {"role": "assistant", "content": "", "reasoning_content": ""}, list[int]()
    for chunk in chunks:
        (choice,) = chunk["choices"]
        for name, text in choice["delta"].items():
            message[name] += text
        if "content" in choice["delta"]:
            ids += choice.get("token_ids", [])
    last = chunks[-1]
    choice = {"index": 0, "message": message, "finish_reason": last["choices"][0]["finish_reason"], "logprobs": None}
    if report.wish.with_ids:
        choice["token_ids"] = ids
    head = {"id": report.id, "created": report.created, "model": MODEL, "object": "chat.completion"}
    return {**head, "choices": [choice], "usage": report.usage(last["pace"]), "pace": last["pace"]}
