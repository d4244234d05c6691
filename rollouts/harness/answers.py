"""Writes answers of the policy in OpenAI's form, and recognises them when a harness sends them back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.messages import Message
from rl.think import split_think
from rollouts.environments.calls import find_calls
from rollouts.harness.asks import Ask, ClientMessage, sorted_json, without_marks
from rollouts.harness.settings import AskError
from rollouts.requests import Completion

MODEL = "policy"
"""Name of the model that the endpoint serves; a request may give any other."""

CALL_MARKS = (
    "<tool_call>",
    "<function=",
    "[TOOL_CALLS]",
    "<|python_tag|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
)
"""Texts with which calls begin in the forms of `rollouts.environments.calls`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the policy in the form that a harness is given."""

    content: str
    reasoning: str
    """Chain of thought; empty for a model that has none."""
    calls: tuple[tuple[str, str], ...]
    """(name, arguments as JSON) of the tools that the policy calls."""
    finish_reason: str

    @property
    def message(self) -> ClientMessage:
        """The message by which the answer is recognised in a later request."""
        calls = tuple((name, sorted_json(arguments)) for name, arguments in self.calls)
        return ClientMessage(Message("assistant", without_marks(self.content)), calls=calls)


def read_answer(text: str, ask: Ask, finish_reason: str) -> Answer:
    """Return the answer in a turn's text: the chain apart, the text before a stop, and the calls of the tools that were given."""
    reasoning, content = split_think(text)
    # The policy wrote the stop text, so it stays among the trained tokens; by OpenAI's rule it is not returned.
    # Nor what follows it: the last token may hold more than the stop text, as in `</answer>,`.
    if finish_reason == "stop":
        places = [place for stop in ask.stop if (place := content.find(stop)) >= 0]
        content = content[: min(places, default=len(content))]
    calls: list[tuple[str, str]] = []
    if ask.tools:
        # An answer in JSON may have the form of a call: {"name": "Bob", "age": 3}.
        names = ask.tool_names
        calls = [
            (c.name, json.dumps(dict(c.arguments))) for c in find_calls(content) if not c.problem and c.name in names
        ]
    if calls:
        content = _before_calls(content)
    # An answer that was cut off says `length`, though calls were read in it: it may lack others.
    reason = "tool_calls" if calls and finish_reason == "stop" else finish_reason
    return Answer(content, reasoning, tuple(calls), reason)


def _before_calls(content: str) -> str:
    """Return the text before the first call; none of it where the form of the call has no mark."""
    places = [place for mark in CALL_MARKS if (place := content.find(mark)) >= 0]
    return content[: min(places, default=0)].rstrip()


def to_json(answer: Answer, completion: Completion, tokens: Sequence[str] | None, id: str) -> dict[str, object]:
    """Return the body of an answer; `tokens` are the texts of the response's tokens where their logprobs are asked for."""
    message: dict[str, object] = {"role": "assistant", "content": answer.content}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["tool_calls"] = [
            {"id": f"call_{id}_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(answer.calls)
        ]
    logprobs = None
    if tokens is not None:
        pairs = zip(tokens, completion.logprobs.tolist(), strict=True)
        logprobs = {
            "content": [
                {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": []}
                for token, logprob in pairs
            ],
            "refusal": None,
        }
    prompt, response = completion.prompt_length, len(completion.logprobs)
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason, "logprobs": logprobs}
    return {
        "id": f"chatcmpl-{id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [choice],
        "usage": {"prompt_tokens": prompt, "completion_tokens": response, "total_tokens": prompt + response},
    }


def to_events(body: Mapping[str, Any], with_usage: bool) -> bytes:  # Any: JSON
    """Return the body of an answer as the events of a stream: what was said, why it ended, and perhaps what it took."""
    (choice,) = body["choices"]
    message = dict(choice["message"])
    if calls := message.get("tool_calls"):
        # The parts of a stream name the place of their call, by which clients put them together.
        message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
    head = {**{name: body[name] for name in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    content = {"index": 0, "delta": message, "finish_reason": None, "logprobs": choice["logprobs"]}
    end: dict[str, object] = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    chunks: list[dict[str, object]] = [{**head, "choices": [content]}, {**head, "choices": [end]}]
    if with_usage:
        chunks.append({**head, "choices": [], "usage": body["usage"]})
    events = [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]
    return "".join(f"data: {event}\n\n" for event in events).encode()


def error_json(error: AskError) -> dict[str, object]:
    """Return the body of a refusal."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    code = "context_length_exceeded" if error.reason == "length" else error.reason
    return {"error": {"message": str(error), "type": kind, "param": None, "code": code}}


def models_json() -> Mapping[str, object]:
    """Return the body of `/v1/models`."""
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "groundtone"}
    return {"object": "list", "data": [model]}
