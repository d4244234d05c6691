"""Prompts in, a stream of finished samples out, from several vLLM engines.

The sampler turns prompts into requests (one per sample, each with its own seed), deals them to the engines, and yields
rollouts as they end. A request that an engine loses by dying is written again by another engine, token for token.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from rl.config import ConfigError
from rl.types import Clip, Message, Prompt, Rollout
from rollouts.remote import Actor, fetch
from rollouts.serving import ServingConfig
from rollouts.weights import WeightBucket
from rollouts.worker import Completion, Request

if TYPE_CHECKING:
    from ray import ObjectRef

SLICE_S = 0.05
"""Seconds for which an engine runs before it reports what has ended: two calls in flight hide the report's cost."""
IN_FLIGHT = 320
"""Samples that an engine holds at most: the 256 it runs at once (`max_num_seqs`), and some that wait."""
DEATHS = 3
"""Engines that may die, and be replaced, during one load or generation."""

NO_OPENINGS: Mapping[tuple[str, int], Sequence[int]] = MappingProxyType({})


@dataclass(kw_only=True)
class EngineConfig(ServingConfig):
    """The engines that write for the policy."""

    count: int = 1

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
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
    """Return a seed for what these parts name, for instance (run's seed, prompt id, sample)."""
    # Hashed: vLLM's own n=16 takes seed + i, so the samples of neighbouring prompts would share their random numbers.
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2  # 62 bits: torch's seeds are signed 64-bit integers


class Sampler:
    """The policy's engines as one source of rollouts.

    `engines` are handles of `EngineWorker` actors; `respawn(i)` returns a new i-th engine after one died. Seeded tokens
    and logprobs are bit-identical whatever the order of arrival, the batch's company, the number of threads or the
    process (128 of 128 measured), and a seed depends on the run's seed, the prompt and the sample's index alone. So
    neither the number of engines nor a death changes a single token."""

    def __init__(self, engines: Sequence[Actor], respawn: Callable[[int], Actor], chat: ChatFormat) -> None:
        self.engines, self.respawn, self.chat = list(engines), respawn, chat
        self.version = -1
        self.weights: Sequence[WeightBucket] = []  # what a new engine loads in a dead one's place
        self.reissued_requests = self.deaths = 0

    def load(self, weights: Sequence[WeightBucket] | Path, version: int = 0) -> None:
        """Load weights, or the model in a folder, into every engine under the name `version`."""
        from ray.exceptions import RayActorError

        self.weights = [{"folder": str(weights)}] if isinstance(weights, Path) else weights
        self.version = version
        self.deaths = 0
        # All engines start before the first is waited for.
        for i, loading in enumerate([engine.load.remote(version, self.weights) for engine in self.engines]):
            try:
                assert fetch(loading) == version, f"engine {i} does not hold version {version}"
            except RayActorError:
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
        openings: Mapping[tuple[str, int], Sequence[int]] = NO_OPENINGS,
    ) -> Iterator[list[Rollout]]:
        """Yield rollouts as they end, `samples` for each prompt, in no fixed order.

        A response gets the tokens that its prompt leaves of `max_sequence_tokens`. Samples named in `skip`, by (prompt
        id, index), are not written; those in `openings` go on from these ids, which count as not written by the policy.
        Raises ValueError when a prompt leaves nothing."""
        import ray
        from ray.exceptions import RayActorError

        self.deaths = 0
        queue = deque[Request]()
        for request in self._requests(prompts, samples, temperature, max_sequence_tokens, seed):
            prompt_index, sample = request.key
            name = prompts[prompt_index].id, sample
            if name not in skip:
                queue.append(_with_opening(request, openings.get(name, ())))
        running: list[dict[tuple[int, int], Request]] = [{} for _ in self.engines]  # by engine, then by request.key
        calls: dict[ObjectRef[list[Completion]], int] = {}  # call in flight → its engine
        try:
            # Until the last calls have returned, even if they find nothing to do: then the engines are idle for sure.
            while queue or calls:
                self._feed(queue, running, calls)
                call = cast("ObjectRef[list[Completion]]", ray.wait(list(calls), num_returns=1)[0][0])
                i = calls.pop(call)
                try:
                    completions: list[Completion] = fetch(call)
                except RayActorError:
                    # The engine is gone with all it held. Its other call is dropped, its requests go to the front of
                    # the queue with their old seeds, and whoever takes them writes the same tokens.
                    calls = {ref: j for ref, j in calls.items() if j != i}
                    queue.extendleft(running[i].values())
                    self.reissued_requests += len(running[i])
                    running[i] = {}
                    self._replace(i)
                    continue
                for completion in completions:
                    del running[i][completion.key]
                if completions:
                    yield [self._rollout(prompts[c.key[0]], c, openings) for c in completions]
        finally:  # also when the caller leaves the stream early: what still runs is dropped
            if aborts := [engine.abort.remote() for i, engine in enumerate(self.engines) if running[i]]:
                ray.wait(aborts, num_returns=len(aborts))
            for resting in [engine.rest.remote() for engine in self.engines]:
                with suppress(RayActorError):  # a dead engine is replaced when it is next used
                    ray.get(resting)

    def _feed(
        self,
        queue: deque[Request],
        running: list[dict[tuple[int, int], Request]],
        calls: dict[ObjectRef[list[Completion]], int],
    ) -> None:
        """Deal waiting requests evenly and keep two calls in flight on every engine that has work."""
        for i, engine in enumerate(self.engines):
            # Two: while the driver reads the answer of one, the engine already steps for the other.
            while list(calls.values()).count(i) < 2:
                # An even share of all that is left, rounded up: a fast engine must not empty the queue at the end.
                share = -(-(len(queue) + sum(map(len, running))) // len(self.engines))
                space = max(0, min(share, IN_FLIGHT) - len(running[i]))
                requests = [queue.popleft() for _ in range(min(space, len(queue)))]
                running[i] |= {request.key: request for request in requests}
                if not running[i]:
                    break
                # The engine refuses unless it holds this version: no token is written by stale weights.
                calls[engine.advance.remote(self.version, requests, SLICE_S)] = i

    def _replace(self, i: int) -> None:
        """Put a new engine with the present weights in the place of the dead i-th. Raises ValueError after DEATHS."""
        import ray
        from ray.exceptions import RayActorError

        while self.deaths < DEATHS:
            self.deaths += 1
            self.engines[i] = self.respawn(i)
            try:
                if self.weights:
                    ray.get(self.engines[i].load.remote(self.version, self.weights))
                return
            except RayActorError:
                continue
        raise ValueError(
            f"engine {i} died and so did those in its place; is memory short? lower engines.count, or what an engine "
            "takes: engines.kv_cache_mb on CPU, engines.vllm.gpu_memory_utilization on a GPU; --debug shows all of it"
        )

    def _requests(
        self, prompts: Sequence[Prompt], samples: int, temperature: float, max_sequence_tokens: int, seed: int
    ) -> Iterator[Request]:
        """Yield a request for each sample of each prompt."""
        for p, prompt in enumerate(prompts):
            ids, length = self._encode(prompt)
            if length >= max_sequence_tokens:
                raise ValueError(
                    f"prompt '{prompt.id}': {length} tokens leave no room for a response; "
                    f"raise max_sequence_tokens ({max_sequence_tokens}) or drop the row"
                )
            # One request a sample, not vLLM's n: it withholds every sibling until the group's last one has ended.
            for s in range(samples):
                sample_seed, max_tokens = seed_of(seed, prompt.id, s), max_sequence_tokens - length
                yield Request((p, s), ids, sample_seed, max_tokens, temperature, prompt.clips)

    def _encode(self, prompt: Prompt) -> tuple[tuple[int, ...], int]:
        """Return (ids to send, their number once the engine has expanded the audio)."""
        try:
            # One audio token a clip: vLLM expands them, and would expand an expanded prompt again without a word.
            ids = tuple(self.chat.prompt(prompt.messages, prompt.clips))
            if not prompt.clips:
                return ids, len(ids)
            return ids, len(self.chat.prompt(prompt.messages, prompt.clips, expand=True))
        except ValueError as error:
            raise ValueError(f"prompt '{prompt.id}': {error}") from error

    def _rollout(
        self, prompt: Prompt, completion: Completion, openings: Mapping[tuple[str, int], Sequence[int]]
    ) -> Rollout:
        _, sample = completion.key
        action_mask = np.arange(len(completion.tokens)) >= completion.prompt_length
        # An opening was sent as the end of the prompt, and is part of the turn's text.
        turn_start = completion.prompt_length - len(openings.get((prompt.id, sample), ()))
        return Rollout(
            prompt=prompt,
            sample=sample,
            tokens=completion.tokens,
            action_mask=action_mask,
            logprobs=completion.logprobs,
            finish_reason=completion.finish_reason,
            version=completion.version,
            text=self.chat.turn(completion.tokens[turn_start:].tolist()),
        )


def _with_opening(request: Request, opening: Sequence[int]) -> Request:
    """Return the request to go on after `opening`. Raises ValueError when that leaves nothing to write."""
    max_tokens = request.max_tokens - len(opening)
    if max_tokens < 1:
        raise ValueError(
            f"{len(opening)} tokens of thinking leave no room for an answer; raise max_sequence_tokens or think less"
        )
    return replace(request, tokens=(*request.tokens, *opening), max_tokens=max_tokens)
