"""Structured answers from any OpenAI-compatible endpoint, or from a model that the run serves itself: retried with
backoff, under a wall deadline, counted. Whatever goes wrong in the end is an error that says so, never an answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from rewards.served import Batches, Model

Messages = Sequence[Mapping[str, str]]
Parsed = TypeVar("Parsed")
FATAL = (400, 401, 403, 404, 405, 422)
"""Statuses that no retry changes."""


class Unusable(ValueError):
    """An answer that cannot be read, or a refusal: another try may do better."""


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class Endpoint:
    """`ask` a model behind an address, with at most `concurrent` questions under way."""

    def __init__(self, address: str, model: str, key: str, timeout_s: float, options: Mapping[str, Any]) -> None:
        from openai import AsyncOpenAI  # here, since an import would hold the event loop up for seconds

        self._model, self._key, self._options = model, key, dict(options)
        self._client = AsyncOpenAI(base_url=address, api_key=key or "none", timeout=timeout_s, max_retries=0)

    async def __call__(self, messages: Messages, schema: Mapping[str, Any]) -> Reply:
        form = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
        create = cast(Callable[..., Awaitable[Any]], self._client.chat.completions.create)
        completion = await create(model=self._model, messages=list(messages), response_format=form, **self._options)
        if not completion.choices:
            raise Unusable("the judge gave no choice")
        choice, usage = completion.choices[0], completion.usage
        if getattr(choice.message, "refusal", None):
            raise Unusable(f"the judge refused: {choice.message.refusal}")
        if not choice.message.content or choice.finish_reason not in ("stop", None):
            raise Unusable(f"the judge gave no whole answer (finish_reason: {choice.finish_reason})")
        counts = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
        return Reply(choice.message.content, *counts)

    async def close(self) -> None:
        await self._client.close()

    def masked(self, text: str) -> str:
        """A message without the key."""
        return text.replace(self._key, "***") if self._key else text


class Embedded:
    """`ask` a function `[(messages, schema), …] -> [text, …]` that the run serves, in batches."""

    def __init__(self, model: Model, size: int, timeout_s: float) -> None:
        self._batches = Batches[tuple[Messages, Mapping[str, Any]], str](model, size, timeout_s)

    async def __call__(self, messages: Messages, schema: Mapping[str, Any]) -> Reply:
        return Reply(await self._batches.ask((messages, schema)))

    async def close(self) -> None:
        """The model is the run's."""

    def masked(self, text: str) -> str:
        """A message as it is."""
        return text


class Counts:
    """What has been asked so far, and what it cost."""

    def __init__(self, price: Sequence[float]) -> None:
        self._price = price
        self._sums = Counter[str]()

    def add(self, **amounts: float) -> None:
        self._sums.update(cast(Mapping[str, int], amounts))

    def metrics(self) -> dict[str, float]:
        """Totals; `latency` is the mean seconds of an answered request, `cost` in the currency of the price."""
        sums: Mapping[str, float] = self._sums
        names = ("requests", "cached", "retries", "failed", "tokens_in", "tokens_out")
        cost = sum(p * sums[n] / 1e6 for p, n in zip(self._price, ("tokens_in", "tokens_out"), strict=True))
        latency = sums["seconds"] / max(1, sums["answered"])
        return {**{name: float(sums[name]) for name in names}, "latency": latency, "cost": cost}


async def ask(
    source: Endpoint | Embedded,
    messages: Messages,
    schema: Mapping[str, Any],
    parse: Callable[[Any], Parsed],
    *,
    retries: int,
    deadline_s: float,
    counts: Counts,
) -> Parsed:
    """What `parse` makes of the JSON answer; Unusable where it cannot is another try. Raises ValueError with the last
    reason when the tries or the seconds, waiting between tries included, are spent."""
    due, reason = time.monotonic() + deadline_s, ""
    for attempt in range(retries + 1):
        left, start = due - time.monotonic(), time.monotonic()
        counts.add(requests=1, retries=attempt > 0)
        try:
            reply = await asyncio.wait_for(source(messages, schema), max(left, 0.001))
            counts.add(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
            parsed = parse(_json(reply.text))
            counts.add(answered=1, seconds=time.monotonic() - start)
            return parsed
        except Exception as error:  # isolation boundary: somebody else's server
            reason, final, pause = _reason(error)
        pause = max(pause, min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.0))
        if final or attempt == retries or time.monotonic() + pause >= due:
            break
        await asyncio.sleep(pause)
    counts.add(failed=1)
    raise ValueError(source.masked(reason)[:500])


def _reason(error: Exception) -> tuple[str, bool, float]:
    """(what to say, whether trying again is idle, the seconds that the server asks to wait)."""
    import openai

    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "the judge did not answer in time; timeout_s is for one request, deadline_s for one sample", False, 0.0
    if isinstance(error, openai.APIConnectionError):
        return f"the judge cannot be reached: {error.__cause__ or error}", False, 0.0
    if isinstance(error, openai.APIStatusError):
        wait = error.response.headers.get("retry-after", "")
        seconds = float(wait) if wait.replace(".", "", 1).isdigit() else 0.0
        return f"the judge answered {error.status_code}: {error.message}", error.status_code in FATAL, seconds
    if isinstance(error, Unusable):
        return str(error), False, 0.0
    return f"the judge failed: {type(error).__name__}: {error}", False, 0.0


def _json(text: str) -> Any:
    try:
        return json.loads(text.strip().removeprefix("```json").removeprefix("```").removesuffix("```"))
    except (ValueError, RecursionError) as error:
        raise Unusable(f"the judge's answer is no JSON: {text[:80]!r}") from error
