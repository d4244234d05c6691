"""Asks any OpenAI-compatible endpoint, or a model that the run serves itself, for structured answers.

Questions are retried with backoff, under a deadline, and counted. A question that fails in the end raises an error and
is never taken for an answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from rewards.judge.bounded import REQUEST_HEADERS, UnusableAnswer, bound_reply
from rewards.served import Batches, Model

Messages = Sequence[Mapping[str, str]]
"""A conversation: `{role, content}` each."""
Result = TypeVar("Result")
FATAL_STATUSES = (400, 401, 403, 404, 405, 422)
"""HTTP statuses that no retry changes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer, with the tokens that it cost (0 where the server does not say)."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


class Endpoint:
    """A model behind an OpenAI-compatible address."""

    def __init__(self, address: str, model: str, key: str, timeout_s: float, options: Mapping[str, object]) -> None:
        """Open a client; `timeout_s` is for one request, `options` go into each (temperature, max_tokens, …)."""
        # imported here, in the caller's thread: in the event loop the import would hold up all questions for seconds
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self._model, self._key, self._options = model, key, dict(options)
        # A redirect would take the question, and on some servers the key, to an address that no recipe names.
        http = DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [bound_reply]})
        self._client = AsyncOpenAI(
            base_url=address,
            api_key=key or "none",
            timeout=timeout_s,
            max_retries=0,  # `ask` retries, under the sample's deadline and counted
            http_client=http,
            default_headers=REQUEST_HEADERS,
        )

    async def __call__(self, messages: Messages, schema: Mapping[str, object]) -> Reply:
        """Return the model's answer in the form of `schema`. Raises UnusableAnswer for none, a cut one or a refusal, and
        what the client raises."""
        form = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
        # cast to Any: the client's overloads want its own TypedDicts and literal options
        create = cast(Callable[..., Awaitable[Any]], self._client.chat.completions.create)
        completion = await create(model=self._model, messages=list(messages), response_format=form, **self._options)
        if not completion.choices:
            raise UnusableAnswer("the judge gave no choice")
        choice, usage = completion.choices[0], completion.usage
        if getattr(choice.message, "refusal", None):
            raise UnusableAnswer(f"the judge refused: {choice.message.refusal}")
        # cut at max_tokens, the JSON may still parse and its last mark be wrong
        if not choice.message.content or choice.finish_reason not in ("stop", None):
            raise UnusableAnswer(f"the judge gave no whole answer (finish_reason: {choice.finish_reason})")
        counts = (usage.prompt_tokens or 0, usage.completion_tokens or 0) if usage else (0, 0)
        return Reply(choice.message.content, *counts)

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    def hide_key(self, text: str) -> str:
        """Return a message without the API key: a server may echo it, and errors are logged."""
        return text.replace(self._key, "***") if self._key else text


class ServedJudge:
    """A model that the run serves: a function `[(messages, schema), …] -> [text, …]`, which is called in batches."""

    def __init__(self, model: Model, size: int, timeout_s: float) -> None:
        self._batches = Batches[tuple[Messages, Mapping[str, object]], str](model, size, timeout_s)

    async def __call__(self, messages: Messages, schema: Mapping[str, object]) -> Reply:
        """Return the model's answer in the form of `schema`."""
        return Reply(await self._batches.ask((messages, schema)))

    async def close(self) -> None:
        """End the thread that asks the model; the run closes its own model."""
        self._batches.close()

    def hide_key(self, text: str) -> str:
        """Return a message as it is: there is no key."""
        return text


class Counts:
    """Running totals of requests, tokens and seconds; `price` is that of a million tokens in, and out."""

    def __init__(self, price: Sequence[float]) -> None:
        self._price = price
        self._sums = Counter[str]()

    def add(self, **amounts: float) -> None:
        """Add to the totals of these names."""
        self._sums.update(cast(Mapping[str, int], amounts))

    def metrics(self) -> dict[str, float]:
        """Return the totals; `latency` is the mean seconds of an answered request, `cost` is in the currency of the price."""
        sums: Mapping[str, float] = self._sums
        names = ("requests", "cached", "retries", "failed", "tokens_in", "tokens_out")
        price_in, price_out = self._price
        cost = price_in * sums["tokens_in"] / 1e6 + price_out * sums["tokens_out"] / 1e6
        latency = sums["seconds"] / max(1, sums["answered"])
        return {**{name: float(sums[name]) for name in names}, "latency": latency, "cost": cost}


async def ask(
    source: Endpoint | ServedJudge,
    messages: Messages,
    schema: Mapping[str, object],
    parse: Callable[[object], Result],
    *,
    retries: int,
    deadline_s: float,
    counts: Counts,
) -> Result:
    """Return what `parse` makes of the model's JSON answer; where it raises UnusableAnswer the model is asked again.

    Raises ValueError with the reason of the last failure when the tries are spent, or when `deadline_s` seconds, pauses
    between tries included, are over.
    """
    due, reason = time.monotonic() + deadline_s, ""
    for attempt in range(retries + 1):
        start = time.monotonic()
        counts.add(requests=1, retries=attempt > 0)
        try:
            # 0.001: a deadline that has just passed still gives the request a turn of the event loop
            reply = await asyncio.wait_for(source(messages, schema), max(due - start, 0.001))
            counts.add(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)  # an unusable answer costs too
            result = parse(_parse_json(reply.text))
            counts.add(answered=1, seconds=time.monotonic() - start)
            return result
        except Exception as error:  # isolation boundary: somebody else's server
            reason, is_final, pause = _explain(error)
        # Exponential backoff, 0.25 s to 8 s, with jitter so that many samples do not come back at once; longer where the
        # server asks for it.
        pause = max(pause, min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.0))
        if is_final or attempt == retries or time.monotonic() + pause >= due:
            break
        await asyncio.sleep(pause)
    counts.add(failed=1)
    raise ValueError(source.hide_key(reason)[:500])


def _explain(error: Exception) -> tuple[str, bool, float]:
    """Return (the reason for the user, whether it is final: no retry can help, seconds that the server asks to wait)."""
    import openai

    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "the judge did not answer in time; timeout_s is for one request, deadline_s for one sample", False, 0.0
    if isinstance(error.__cause__, UnusableAnswer):  # raised while the client read the reply
        return str(error.__cause__), False, 0.0
    if isinstance(error, openai.APIConnectionError):
        return f"the judge cannot be reached: {error.__cause__ or error}", False, 0.0
    if isinstance(error, openai.APIStatusError):
        if error.response.is_redirect:
            target = f"{error.response.headers.get('location', '')[:200]!r}, which is not followed"
            return f"the judge's endpoint redirects to {target}; name the final address as `endpoint`", True, 0.0
        wait = error.response.headers.get("retry-after", "")
        seconds = float(wait) if wait.replace(".", "", 1).isdigit() else 0.0  # it may be a date, which is not read
        return f"the judge answered {error.status_code}: {error.message}", error.status_code in FATAL_STATUSES, seconds
    if isinstance(error, UnusableAnswer):
        return str(error), False, 0.0
    return f"the judge failed: {type(error).__name__}: {error}", False, 0.0


def _parse_json(text: str) -> object:
    try:  # models like to fence JSON; RecursionError: "[[[[…"
        return json.loads(text.strip().removeprefix("```json").removeprefix("```").removesuffix("```"))
    except (ValueError, RecursionError) as error:
        raise UnusableAnswer(f"the judge's answer is no JSON: {text[:80]!r}") from error
