"""Prompts in, a stream of finished samples out: routing over engines, seeds, re-issuing what a dead engine lost."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rl.config import ConfigError
from rl.types import Clip, Message, Prompt, Rollout
from rollouts.remote import fetch
from rollouts.serving import ServingConfig
from rollouts.worker import Completion, Request, WeightBucket

if TYPE_CHECKING:
    from pathlib import Path

SLICE_S = 0.05
IN_FLIGHT = 320
"""Samples an engine holds at most: what it runs at once (256) and a few waiting."""
DEATHS = 3
"""Engines that may die during one load or generation, and are replaced."""


@dataclass(kw_only=True)
class EngineConfig(ServingConfig):
    """The policy's engines."""

    count: int = 1

    def validate(self, place: str) -> None:
        super().validate(place)
        if self.count < 1:
            raise ConfigError(f"{place}.count: must be at least 1; got {self.count}")


class ChatFormat(Protocol):
    """Conversations to token ids, and ids that an engine wrote back to text; `rl.data.chat.Chat` is one."""

    def prompt(self, messages: Sequence[Message], clips: Sequence[Clip] = (), expand: bool = False) -> list[int]:
        """Return the ids of a conversation: one audio token a clip, or with `expand` as many as the model hears."""
        ...

    @cached_property  # a plain property would not admit the cached one of `Chat` to a type checker
    def closing(self) -> list[int]:
        """Ids that end a chain of thought."""
        ...

    def turn(self, ids: Sequence[int]) -> str:
        """Return the text of what the policy wrote."""
        ...

    def chain_length(self, ids: Sequence[int]) -> int:
        """Return the number of tokens in the chain of thought."""
        ...


def seed_of(*parts: object) -> int:
    """A seed for a sample from what it is a sample of. Hashed, so that neighbours' seeds do not collide."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2


class Sampler:
    """`engines` are EngineWorker actors; `respawn(i)` makes a new i-th one when it died. They may rest between
    generations.

    Each sample's seed depends on `seed`, its prompt and its index only, so neither the number of engines nor the order
    of arrival changes a single token."""

    def __init__(self, engines: Sequence[Any], respawn: Callable[[int], Any], chat: ChatFormat) -> None:
        self.engines, self.respawn, self.chat = list(engines), respawn, chat
        self.version = -1
        self.reissued = self.deaths = 0
        self.weights: Sequence[WeightBucket] = []

    def load(self, weights: Sequence[WeightBucket] | Path, version: int = 0) -> None:
        """Every engine takes these weights (handles of tensors, or a model folder) under the name `version`."""
        import ray

        self.weights = weights if isinstance(weights, Sequence) else [{"folder": str(weights)}]
        self.version = version
        self.deaths = 0
        for i, loading in enumerate([engine.load.remote(version, self.weights) for engine in self.engines]):
            try:
                assert fetch(loading) == version, f"engine {i} does not hold version {version}"
            except ray.exceptions.RayActorError:
                self._replace(i)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        samples: int,
        temperature: float,
        max_sequence_tokens: int,
        seed: int,
        skip: Container[tuple[str, int]] = (),
        openings: Mapping[tuple[str, int], Sequence[int]] = MappingProxyType({}),
    ) -> Iterator[list[Rollout]]:
        """Yields samples as they end, `samples` for each prompt, in no fixed order, without those whose (prompt id,
        index) is in `skip`; those in `openings` go on from these ids, which count as not written by the policy. The
        response gets what the prompt leaves of `max_sequence_tokens`. Raises ValueError when a prompt leaves nothing."""
        import ray

        self.deaths = 0
        asked = self._requests(prompts, samples, temperature, max_sequence_tokens, seed)
        named = (((prompts[request.key[0]].id, request.key[1]), request) for request in asked)
        queue = deque(_opened(request, openings.get(name, ())) for name, request in named if name not in skip)
        running: list[dict[tuple[int, int], Request]] = [{} for _ in self.engines]
        calls: dict[Any, int] = {}
        try:
            while queue or calls:  # the last calls find nothing to do, but then the engines are known to be idle
                self._feed(queue, running, calls)
                (done,), _ = ray.wait(list(calls), num_returns=1)
                i = calls.pop(done)
                try:
                    completions: list[Completion] = fetch(done)
                except ray.exceptions.RayActorError:
                    calls = {ref: j for ref, j in calls.items() if j != i}
                    queue.extendleft(running[i].values())
                    self.reissued += len(running[i])
                    running[i] = {}
                    self._replace(i)
                    continue
                for completion in completions:
                    del running[i][completion.key]
                if completions:
                    yield [self._rollout(prompts[c.key[0]], c, openings) for c in completions]
        finally:  # when the stream is left early, what still runs is dropped
            if busy := [engine.abort.remote() for i, engine in enumerate(self.engines) if running[i]]:
                ray.wait(busy, num_returns=len(busy))
            for resting in [engine.rest.remote() for engine in self.engines]:
                with suppress(ray.exceptions.RayActorError):  # a dead one is replaced when it is next asked
                    ray.get(resting)

    def _feed(
        self, queue: deque[Request], running: list[dict[tuple[int, int], Request]], calls: dict[Any, int]
    ) -> None:
        """Keeps two calls in flight on each engine that has work, and deals waiting requests evenly."""
        for i, engine in enumerate(self.engines):
            while list(calls.values()).count(i) < 2:
                share = -(-(len(queue) + sum(map(len, running))) // len(self.engines))
                room = min(share, IN_FLIGHT) - len(running[i])
                fresh = [queue.popleft() for _ in range(min(room, len(queue)))] if room > 0 else []
                running[i] |= {request.key: request for request in fresh}
                if not running[i]:
                    break
                calls[engine.advance.remote(self.version, fresh, SLICE_S)] = i

    def _replace(self, i: int) -> None:
        import ray

        while self.deaths < DEATHS:
            self.deaths += 1
            self.engines[i] = self.respawn(i)
            try:
                if self.weights:
                    ray.get(self.engines[i].load.remote(self.version, self.weights))
                return
            except ray.exceptions.RayActorError:
                continue
        raise ValueError(
            f"engine {i} died and so did those in its place; is memory short? lower engines.count, or what an engine "
            "takes: engines.kv_cache_mb on CPU, engines.vllm.gpu_memory_utilization on a GPU; --debug shows all of it"
        )

    def _requests(
        self, prompts: Sequence[Prompt], samples: int, temperature: float, max_sequence_tokens: int, seed: int
    ) -> Iterator[Request]:
        for p, prompt in enumerate(prompts):
            ids, length = self._encoded(prompt)
            if length >= max_sequence_tokens:
                raise ValueError(
                    f"prompt '{prompt.id}': {length} tokens leave no room for a response; "
                    f"raise max_sequence_tokens ({max_sequence_tokens}) or drop the row"
                )
            for s in range(samples):
                sample_seed, room = seed_of(seed, prompt.id, s), max_sequence_tokens - length
                yield Request((p, s), ids, sample_seed, room, temperature, prompt.clips)

    def _encoded(self, prompt: Prompt) -> tuple[tuple[int, ...], int]:
        """(ids as the engine is sent them, their number once it has expanded the audio)."""
        try:
            ids = tuple(self.chat.prompt(prompt.messages, prompt.clips))
            return ids, len(self.chat.prompt(prompt.messages, prompt.clips, expand=True)) if prompt.clips else len(ids)
        except ValueError as error:
            raise ValueError(f"prompt '{prompt.id}': {error}") from error

    def _rollout(
        self, prompt: Prompt, completion: Completion, openings: Mapping[tuple[str, int], Sequence[int]]
    ) -> Rollout:
        action_mask = np.arange(len(completion.tokens)) >= completion.prompt_length
        turn = completion.prompt_length - len(openings.get((prompt.id, completion.key[1]), ()))
        return Rollout(
            prompt=prompt,
            sample=completion.key[1],
            tokens=completion.tokens,
            action_mask=action_mask,
            logprobs=completion.logprobs,
            finish_reason=completion.finish_reason,
            version=completion.version,
            text=self.chat.turn(completion.tokens[turn:].tolist()),
        )


def _opened(request: Request, opening: Sequence[int]) -> Request:
    """The request to go on after `opening`. Raises ValueError when that leaves nothing to write."""
    room = request.max_tokens - len(opening)
    if room < 1:
        raise ValueError(
            f"{len(opening)} tokens of thinking leave no room for an answer; raise max_sequence_tokens or think less"
        )
    return replace(request, tokens=(*request.tokens, *opening), max_tokens=room)
