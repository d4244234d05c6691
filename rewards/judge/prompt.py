"""Builds the prompt of a judge, hardened against the policy that it judges.

The material to be judged is one JSON object, so that no text in it can end its own quotation. The answer must repeat a
seal that the policy cannot know, so that a verdict written into the material and copied by the judge is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from rewards.judge.endpoint import Messages, UnusableAnswer
from rl.types import AUDIO_PATCH, Prompt

Opinion = tuple[dict[str, int], str]
"""({criterion: mark}, why): what a judge says of one sample."""
LONGEST_REASON = 300
"""Characters that are kept of a judge's explanation."""


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """One question to a judge."""

    messages: Messages
    """System and user message."""
    schema: Mapping[str, object]
    """JSON schema of the answer."""
    parse: Callable[[object], Opinion]
    """Function that reads the decoded answer; raises UnusableAnswer."""


def build_prompt(
    system: Callable[[str], str],
    material: Mapping[str, object],
    mark_schemas: Mapping[str, Mapping[str, object]],
    parse_marks: Callable[[Mapping[str, object]], dict[str, int]],
) -> JudgePrompt:
    """Return a prompt that shows the judge `material`.

    `system` writes the instructions around a seal. `mark_schemas` are the JSON schemas of what the answer holds beside
    "seal" and "why", and `parse_marks` reads these fields (raises UnusableAnswer).
    """
    text = json.dumps(material, ensure_ascii=False)
    # A digest of the whole material: a text within the material cannot contain it, and the same question keeps the same
    # seal, so that its answer can be cached. 12 hex digits are 48 bits.
    seal = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
    # "why" comes before the marks, since a model writes in this order: its marks then follow from its explanation
    properties = {"seal": {"type": "string"}, "why": {"type": "string"}, **mark_schemas}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

    def parse(answer: object) -> Opinion:
        if not isinstance(answer, dict):
            raise UnusableAnswer(f"the judge's answer is no JSON object: {str(answer)[:80]!r}")
        fields = cast(dict[str, object], answer)
        if fields.get("seal") != seal:
            raise UnusableAnswer("the judge's answer lacks its seal; it may be copied from what was judged")
        return parse_marks(fields), str(fields.get("why", ""))[:LONGEST_REASON]

    messages = [{"role": "system", "content": system(seal)}, {"role": "user", "content": text}]
    return JudgePrompt(messages, schema, parse)


def clean_text(text: str, longest: int) -> str:
    """Return a text as a judge may see it: valid Unicode, without the marks of chat templates (`<|…|>`), and of about
    `longest` characters, the middle of a longer one left out."""
    # Half surrogates cannot be sent as UTF-8, and `<|im_start|>` in the material would open a turn in the judge's prompt.
    text = text.encode("utf-8", "replace").decode().replace("<|", "< |").replace("|>", "| >")
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[len(text) - half :]}"


def name_clips(text: str, prompt: Prompt) -> str:
    """Return a text of the prompt with "[audio]" in the place of each clip: the judge does not hear them."""
    return text.replace(AUDIO_PATCH, "[audio]") if prompt.clips else text
