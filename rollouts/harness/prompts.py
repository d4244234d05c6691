"""Prompts in OpenAI's form, for harnesses that begin with the run's own."""

from __future__ import annotations

import base64

from rl.audio import content
from rl.messages import AUDIO_PATCH
from rl.types import Prompt


def to_messages(prompt: Prompt) -> list[dict[str, object]]:
    """Return the messages of a prompt as the `openai` client sends them, its clips as parts of sound.

    Example:
        >>> from rl.types import Message
        >>> to_messages(Prompt("row-7", (Message("user", "What is 2 + 2?"),)))
        [{'role': 'user', 'content': 'What is 2 + 2?'}]
    """
    clips = iter(prompt.clips)
    messages: list[dict[str, object]] = []
    for message in prompt.messages:
        if not prompt.clips:
            messages.append({"role": message.role, "content": message.content})
            continue
        # Before each of `texts` stood a mark, and there a clip is heard.
        first, *texts = message.content.split(AUDIO_PATCH)
        parts: list[dict[str, object]] = []
        if first:
            parts.append({"type": "text", "text": first})
        for text in texts:
            data = base64.b64encode(content(next(clips))).decode()
            # OpenAI's form wants a format; the run's own endpoint tells it from the bytes.
            parts.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
            if text:
                parts.append({"type": "text", "text": text})
        messages.append({"role": message.role, "content": parts})
    return messages
