"""One thing that a judge is asked, whatever it is asked: material in JSON, so that nothing in it can end its own
quotation; a seal that the policy cannot know, so that a verdict copied from the material is refused; and the answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from rewards.judge.endpoint import Messages, Unusable
from rl.types import AUDIO_PATCH, Prompt

Opinion = tuple[dict[str, int], str]
"""(what is marked -> mark, why)."""
LONGEST_REASON = 300
"""Characters of a judge's own words."""


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    messages: Messages
    schema: Mapping[str, Any]
    """Of the JSON object that is the answer."""
    read: Callable[[Any], Opinion]
    """Of the answer; raises Unusable for what is none."""


def build_prompt(
    system: Callable[[str], str],
    material: Mapping[str, Any],
    marks: Mapping[str, Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], dict[str, int]],
) -> JudgePrompt:
    """`system` makes the instructions of a seal; `marks` are the schemas of what the answer holds beside seal and why,
    and `read` reads these (raises Unusable)."""
    text = json.dumps(material, ensure_ascii=False)
    seal = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
    properties = {"seal": {"type": "string"}, "why": {"type": "string"}, **marks}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

    def opinion(said: Any) -> Opinion:
        if not isinstance(said, dict):
            raise Unusable(f"the judge's answer is no JSON object: {str(said)[:80]!r}")
        answer = cast(dict[str, Any], said)
        if answer.get("seal") != seal:
            raise Unusable("the judge's answer lacks its seal; it may be copied from what was judged")
        return read(answer), str(answer.get("why", ""))[:LONGEST_REASON]

    messages = [{"role": "system", "content": system(seal)}, {"role": "user", "content": text}]
    return JudgePrompt(messages, schema, opinion)


def plain(text: str, longest: int) -> str:
    """Without half surrogates and the marks of chat templates (`<|…|>`), the middle of a long one left out."""
    text = text.encode("utf-8", "replace").decode().replace("<|", "< |").replace("|>", "| >")
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"


def readable(text: str, prompt: Prompt) -> str:
    """A turn of the prompt for who cannot hear its clips."""
    return text.replace(AUDIO_PATCH, "[audio]") if prompt.clips else text
