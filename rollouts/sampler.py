"""Samples responses to prompts from several vLLM engines.

The sampler turns prompts into requests (one per sample, each with its own seed), has them dealt to the engines, and hands
out rollouts in the order in which they end, which differs from run to run. A request that an engine loses by dying is
written again by another engine. Where an environment answers the policy (`rollouts.episodes`), a sample goes on with a new
request after each reply. `generate` is a stream for who waits; `start` for who does something else meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rl.types import Prompt, Rollout, Spans
from rollouts.chat_format import ChatFormat
from rollouts.dispatch import Dispatcher
from rollouts.engine_options import samples_in_flight
from rollouts.episodes import Episodes, Key
from rollouts.pool import EnginePool
from rollouts.proof import Proof
from rollouts.remote import Actor
from rollouts.requests import Completion, Request
from rollouts.seeds import seed_of
from rollouts.sources import Source
from rollouts.weights import Weights, folder_weights

NO_OPENINGS: Mapping[tuple[str, int], Sequence[int]] = MappingProxyType({})
NO_CUTS: Mapping[tuple[str, int], Spans] = MappingProxyType({})
Receive = Callable[[list[Rollout]], None]


@dataclass(eq=False)
class Generation:
    """A set of prompts that the engines are answering, as `Sampler.start` began it."""

    receive: Receive
    """Callback for finished samples, called in the thread that deals requests."""
    pending: set[Key]
    """Keys of the samples that have not ended."""


class Sampler:
    """The policy's engines as one source of rollouts.

    `engines` are handles of `EngineWorker` actors; `respawn(i)` returns a new i-th engine after one died. A sample's
    seed depends on `seed`, the prompt's id and its index alone. On CPU an engine writes the same tokens and logprobs
    from the same seed, bit for bit, whatever else it runs: neither the number of engines nor a death changes a token
    (tests/rollouts/test_sampler.py). On a GPU rounding depends on the size of the batch, so tokens may differ from run
    to run, unless `engines.batch_invariant` is set. A sample during which weights change also depends on the token at
    which they do."""

    def __init__(
        self,
        engines: Sequence[Actor],
        respawn: Callable[[int], Actor],
        chat: ChatFormat,
        most_samples: int = samples_in_flight(False, {}),
    ) -> None:
        """Begin with no weights loaded. An engine holds at most `most_samples` requests at once, running or in its
        queue."""
        self.pool, self.chat = EnginePool(engines, respawn), chat
        self.episodes = Episodes(chat)
        self.source: Source = self.episodes
        self.dispatcher = Dispatcher(self.pool, most_samples, self._deliver, self.episodes, self._hand_out)
        self.groups = 0  # groups requested so far; the next one gets this number, which its requests' keys begin with
        self.generations: dict[int, Generation] = {}  # by group
        self.version = -1  # nothing loaded: the engines hold the weights that they started with
        self.replays = False  # whether requests say which version is to write which of their tokens

    def use(self, source: Source | None) -> None:
        """Take samples from a harness's sessions, or again from `episodes`. Nothing may be in flight."""
        self.source = self.dispatcher.episodes = source or self.episodes

    @property
    def proof(self) -> Proof:
        """Facts about the last load of weights."""
        return self.pool.proof

    def load(self, weights: Weights | Path, version: int = 0) -> None:
        """Load weights, or the model in a folder, into every engine under the name `version`. Samples in flight go on under
        the new weights. Raises ArrivalError, naming the engine and the tensor, unless every engine holds what was sent and
        uses it."""
        # Calls still on their way to an engine name the old version, and it would refuse them after the load. They
        # arrive before the weights do, since an actor takes its calls in order.
        self.dispatcher.pause(at_once=True)
        if self.replays:
            self.dispatcher.settle()  # the old version's share of each sample must be whole
        self.version = -1  # until every engine has proved that it holds and uses the weights
        self.pool.load(folder_weights(weights) if isinstance(weights, Path) else weights, version)
        self.version = version
        self.dispatcher.run_on()

    def rest(self) -> None:
        """Give the GPU memory of the engines to trainers that share their devices, before these work."""
        self.pool.rest()

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
        most_tokens: int | None = None,
    ) -> Generator[list[Rollout]]:
        """Yield rollouts in the order in which they end, `samples` for each prompt, a few at a time.

        Nothing happens before the first `next`. A caller may stop early: closing the generator drops what still runs.
        Other samples in flight go on. Takes and raises what `start` does; raises ValueError also when more than MAX_DEATHS
        engines die."""
        finished: list[Rollout] = []
        generation = self.start(
            prompts,
            samples=samples,
            temperature=temperature,
            max_sequence_tokens=max_sequence_tokens,
            seed=seed,
            skip=skip,
            openings=openings,
            receive=finished.extend,
            first=True,  # otherwise an evaluation would wait for all samples that were drawn ahead
            most_tokens=most_tokens,
        )
        try:
            while generation.pending:
                self.advance()
                if finished:
                    batch, finished[:] = list(finished), []
                    yield batch
            self.dispatcher.drain()  # trainers that share the cores come next, and must not find an engine still stepping
        finally:  # also when the caller leaves the stream early: what still runs is dropped
            self.drop(generation)

    def start(
        self,
        prompts: Sequence[Prompt],
        *,
        samples: int,
        temperature: float,
        max_sequence_tokens: int,
        seed: int,
        receive: Receive,
        skip: Container[tuple[str, int]] = (),
        openings: Mapping[tuple[str, int], Sequence[int]] = NO_OPENINGS,
        cuts: Mapping[tuple[str, int], Spans] = NO_CUTS,
        first: bool = False,
        most_tokens: int | None = None,
    ) -> Generation:
        """Request `samples` answers to each prompt. The engines write them while `advance` is called, or between
        `run_on` and the next call; `receive` is given the samples as they end.

        A response has at most `max_sequence_tokens` minus its prompt's tokens, and at most `most_tokens` are written of it. Samples named in `skip`, by (prompt id,
        index), are not written; those in `openings` go on from these ids, which count as not written by the policy; those
        in `cuts` are written by these versions. With `first` they go before all that waits.

        Raises ValueError when a prompt or an opening leaves no token for the response, and when a clip cannot be decoded."""
        self.dispatcher.pause()
        self.pool.deaths = 0  # counted anew: a run of days may lose more engines than one generation should
        self.pool.load_dropped()
        # An engine takes its GPU memory back with its first request; `rest` must ask for it again.
        self.pool.awake = True
        limits = _Limits(samples, temperature, max_sequence_tokens, seed, most_tokens)
        requests = list(self._requests(prompts, limits, skip, openings, cuts))
        generation = Generation(receive, {request.key for request in requests})
        self.generations |= dict.fromkeys(range(self.groups, self.groups + len(prompts)), generation)
        self.groups += len(prompts)
        # From now on each load first waits until the old version has written its share of all samples, also of those
        # that were asked for before.
        self.replays = self.replays or bool(cuts)
        # A harness asks the engines by itself, later: the requests of its samples have no tokens yet.
        self.dispatcher.add([request for request in requests if request.tokens], first)
        return generation

    def advance(self) -> None:
        """Wait until an engine reports what has ended, and hand that to its receivers. Raises ValueError when more than
        MAX_DEATHS engines die."""
        self.dispatcher.pause()  # one thread alone deals: from here on it is this one
        assert self.dispatcher.busy, "somebody waits for samples that nobody writes"
        self.dispatcher.advance()

    def run_on(self) -> None:
        """Let the engines write what they were asked for, while the caller does something else."""
        self.dispatcher.run_on()

    def close(self) -> None:
        """Stop dealing, before the engines are gone."""
        self.dispatcher.close()

    def drop(self, generation: Generation) -> None:
        """Drop what a generation has not finished."""
        self.dispatcher.pause()
        self.dispatcher.drop(self.source.drop(generation.pending))
        self._forget(generation)

    def _forget(self, generation: Generation) -> None:
        self.generations = {group: other for group, other in self.generations.items() if other is not generation}

    def _deliver(self, engine: int, completions: Sequence[Completion]) -> None:
        rollouts = {c.key: rollout for c in completions if (rollout := self.source.add(c, engine)) is not None}
        self._hand_out(rollouts)

    def _hand_out(self, rollouts: Mapping[Key, Rollout]) -> None:
        """Hand finished samples to their receivers."""
        # A report may hold samples of several generations: an evaluation's, beside those that are drawn ahead.
        batches: dict[Generation, list[Rollout]] = {}
        for key, rollout in rollouts.items():
            generation = self.generations[key[0]]
            generation.pending.remove(key)
            batches.setdefault(generation, []).append(rollout)
        for generation, batch in batches.items():
            generation.receive(batch)
            if not generation.pending:
                self._forget(generation)

    def _requests(
        self,
        prompts: Sequence[Prompt],
        limits: _Limits,
        skip: Container[tuple[str, int]],
        openings: Mapping[tuple[str, int], Sequence[int]],
        cuts: Mapping[tuple[str, int], Spans],
    ) -> Iterator[Request]:
        """Yield a request for each sample of each prompt, as `start` describes them."""
        ends, max_sequence_tokens = tuple(self.chat.ends), limits.max_sequence_tokens
        for group, prompt in enumerate(prompts, self.groups):
            ids, length = self._encode(prompt)
            if length >= max_sequence_tokens:
                raise ValueError(
                    f"prompt '{prompt.id}': {length} tokens leave no room for a response; "
                    f"raise max_sequence_tokens ({max_sequence_tokens}) or drop the row"
                )
            # One request for each sample, not vLLM's `n`, which withholds all samples of a group until the last has
            # ended.
            for s in range(limits.samples):
                # `skip` and `openings` name a sample by its prompt's id, which callers know. A request's key has the
                # number of its group instead: two generations may hold the same prompt, but never the same group.
                sample_id = prompt.id, s
                if sample_id in skip:
                    continue
                opening = openings.get(sample_id, ())
                max_tokens = max_sequence_tokens - length - len(opening)
                if max_tokens < 1:
                    raise ValueError(
                        f"prompt '{prompt.id}': its {length} tokens and {len(opening)} of thinking leave no room for an "
                        f"answer; raise max_sequence_tokens ({max_sequence_tokens}) or lower the budget of thinking"
                    )
                if limits.most_tokens is not None:
                    max_tokens = min(max_tokens, limits.most_tokens)
                sample_seed, tokens = seed_of(limits.seed, prompt.id, s), (*ids, *opening)
                settings = sample_seed, max_tokens, limits.temperature
                request = Request((group, s), tokens, *settings, prompt.clips, ends, cuts=cuts.get(sample_id, ()))
                yield self.source.begin(prompt, request, limits.seed, max_sequence_tokens, len(opening))

    def _encode(self, prompt: Prompt) -> tuple[tuple[int, ...], int]:
        """Return (ids to send, their number once the engine has expanded the audio); no ids where a harness asks.
        Raises ValueError, naming the prompt, for one that the chat format cannot encode."""
        if not self.source.begins_with_prompt:
            return (), 0
        try:
            # One audio token for each clip: vLLM expands them, and would silently expand an expanded prompt once more.
            tools = self.episodes.tools
            ids = tuple(self.chat.prompt(prompt.messages, prompt.clips, tools=tools))
            if not prompt.clips:
                return ids, len(ids)
            return ids, len(self.chat.prompt(prompt.messages, prompt.clips, expand=True, tools=tools))
        except ValueError as error:
            raise ValueError(f"prompt '{prompt.id}': {error}") from error


@dataclass(frozen=True, slots=True)
class _Limits:
    """Settings that all prompts of a generation share."""

    samples: int
    temperature: float
    max_sequence_tokens: int
    seed: int
    most_tokens: int | None
