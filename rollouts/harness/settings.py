"""Sorts the settings of a question in OpenAI's form: those honoured, those without effect, and those refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "verbosity": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none",),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": (),
    "chat_template_kwargs": ({},),
    "extra_body": ({},),
}
"""Settings that change nothing at these values, or at null, and that are refused at any other."""
FOLLOWED_SETTINGS = frozenset(
    (
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "stop",
        "seed",
        "tools",
        "logprobs",
        "user",
        "stream",
        "stream_options",
    )
)
"""Settings that an answer follows."""
WITHOUT_EFFECT = frozenset(
    (
        "model",  # there is one
        "metadata",  # may name the session
        "store",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    )
)
"""Settings about the service or its bookkeeping, not about what is sampled."""


class AskError(ValueError):
    """A question that is refused, with the word under which it is counted and the HTTP status."""

    def __init__(self, reason: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.reason, self.status = reason, status


def as_refusal(error: Exception) -> AskError:
    """Return the refusal of a question on which this endpoint has failed."""
    return error if isinstance(error, AskError) else AskError("internal", f"{type(error).__name__}: {error}"[:300], 500)


def check_setting(key: str, value: object) -> None:
    """Raise AskError for a setting that would change what is sampled and is not honoured."""
    if value is None or key in FOLLOWED_SETTINGS or key in WITHOUT_EFFECT:
        return
    if key not in NEUTRAL:
        raise AskError("setting", f"{key[:60]}: this endpoint does not know it; leave it out")
    if not any(_is_same(value, neutral) for neutral in NEUTRAL[key]):
        hint = f", or give {json.dumps(NEUTRAL[key][0])}" if NEUTRAL[key] else ""
        raise AskError(
            "setting",
            f"{key}: {shorten(value)} is not done here, where every token is a training sample; leave it out{hint}",
        )


def _is_same(value: object, neutral: object) -> bool:
    # `n: true` is no `n: 1`, though Python calls them equal.
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def shorten(value: object) -> str:
    """Return a value as JSON for a message, cut where it is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"
