"""Prompts in, a stream of finished samples out, from several vLLM engines.

The sampler turns prompts into requests (one per sample, each with its own seed), deals them to the engines, and yields
rollouts in the order in which they end, which differs from run to run. A request that an engine loses by dying is
written again by another engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from rl.config import ConfigError
from rl.types import Prompt, Rollout
from rollouts.chat_format import ChatFormat
from rollouts.engine_options import samples_in_flight
from rollouts.episodes import Environment, Episodes
from rollouts.pool import EnginePool
from rollouts.proof import Proof
from rollouts.remote import Actor, fetch
from rollouts.seeds import seed_of
from rollouts.serving import ServingConfig
from rollouts.transport import Setting
from rollouts.weights import Weights, folder_weights
from rollouts.worker import Completion, Request

if TYPE_CHECKING:
    from ray import ObjectRef

REPLY_S = 1.0
"""Seconds for which the sampler waits for the environment before it looks again."""
SLICE_S = 0.05
"""Seconds for which an engine runs before it reports what has ended. A second call already waits at the engine, so that
it runs on during the report."""

NO_OPENINGS: Mapping[tuple[str, int], Sequence[int]] = MappingProxyType({})


@dataclass(kw_only=True)
class EngineConfig(ServingConfig):
    """The engines that write for the policy."""

    count: int = 1
    """Number of engines. `auto`: as many as the GPUs hold, or two on a CPU that has the cores. Without the key 1 on a CPU and
    `auto` on GPUs."""
    probe: bool = True
    """True if every engine scores a fixed sequence after each update of the weights, to compare with the trainer. false, for
    options of vLLM that exclude prompt logprobs: that the weights arrive is still proved, by checksums, not that they are
    used."""

    transport: Setting = "auto"
    """How new weights come from the trainer: `ipc` within the GPUs that both share, `nccl` from GPU to GPU, `object_store`
    through the host; on CPU `shared_memory` and `gloo` in place of the first two. `auto`: ipc or nccl where every engine's GPUs
    are the policy's or none is, else object_store."""

    batch_invariant: bool = False
    """Write the same tokens from the same seeds on a GPU, whatever else an engine runs, at some cost in speed. vLLM's
    batch-invariant kernels, for GPUs of compute capability 9.0 or more (H100); on a CPU it is so anyway."""

    def environment(self, gpu: bool) -> dict[str, str]:
        variables = super().environment(gpu)
        return variables | {"VLLM_BATCH_INVARIANT": "1"} if gpu and self.batch_invariant else variables

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
        super().validate(place)
        if self.count < 1:
            raise ConfigError(f"{place}.count: must be at least 1; got {self.count}")


class Sampler:
    """The policy's engines as one source of rollouts.

    `engines` are handles of `EngineWorker` actors; `respawn(i)` returns a new i-th engine after one died. A sample's seed
    depends on `seed`, the prompt's id and its index alone. On CPU an engine writes the same tokens and logprobs from the
    same seed, bit for bit, whatever else it runs: neither the number of engines nor a death changes a token
    (tests/rollouts/test_sampler.py). On a GPU roundings depend on the batch's size, and a token may come out otherwise, unless
    `engines.batch_invariant` is set."""

    def __init__(
        self,
        engines: Sequence[Actor],
        respawn: Callable[[int], Actor],
        chat: ChatFormat,
        most_samples: int = samples_in_flight(False, {}),
    ) -> None:
        """`most_samples` is what an engine is given at once, running or in its queue."""
        self.most_samples = most_samples
        self.pool, self.chat = EnginePool(engines, respawn), chat
        self.environment: Environment | None = None
        """What replies to the policy while it writes; None for answers of one turn. Set for a stage."""
        self.version = -1  # nothing loaded: the engines hold the weights that they started with
        self.reissued_requests = 0

    @property
    def proof(self) -> Proof:
        """Facts about the last load of weights."""
        return self.pool.proof

    def load(self, weights: Weights | Path, version: int = 0) -> None:
        """Load weights, or the model in a folder, into every engine under the name `version`. Raises ArrivalError, naming
        the engine and the tensor, unless every engine holds what was sent and uses it."""
        self.version = -1  # until all is proved: after a load that fails it refuses to generate
        self.pool.load(folder_weights(weights) if isinstance(weights, Path) else weights, version)
        self.version = version

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
    ) -> Generator[list[Rollout]]:
        """Yield rollouts in the order in which they end, `samples` for each prompt, a few at a time.

        Nothing happens before the first `next`. A caller may stop early: closing the generator drops what still runs.
        A response has at most `max_sequence_tokens` minus its prompt's tokens. Samples named in `skip`, by (prompt id,
        index), are not written; those in `openings` go on from these ids, which count as not written by the policy.

        Raises ValueError when a prompt or an opening leaves no token for the response, when a clip cannot be decoded,
        and when more than MAX_DEATHS engines die."""
        import ray
        from ray.exceptions import RayActorError

        self.pool.deaths = 0
        self.pool.load_dropped()
        self.pool.awake = True
        episodes = Episodes(self.chat, self.environment)
        queue = deque(
            self._requests(episodes, prompts, samples, temperature, max_sequence_tokens, seed, skip, openings)
        )
        running: list[dict[tuple[int, int], Request]] = [
            {} for _ in self.pool.engines
        ]  # by engine, then by request.key
        calls: dict[ObjectRef[list[Completion]], int] = {}  # call in flight → its engine
        try:
            # Wait for every call, also those without work: only then is no engine still stepping.
            while queue or calls or episodes.pending:
                # Without a call in flight there is nothing to do but wait for the environment.
                requests, finished = episodes.advance(0.0 if queue or calls else REPLY_S)
                queue.extendleft(requests)
                if finished:
                    yield finished
                self._feed(queue, running, calls)
                if not calls:
                    continue
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
                    self.proof.check(i, self.pool.replace(i))
                    continue
                for completion in completions:
                    del running[i][completion.key]
                if rollouts := [rollout for c in completions if (rollout := episodes.add(c)) is not None]:
                    yield rollouts
        finally:  # also when the caller leaves the stream early: what still runs is dropped
            if aborts := [engine.abort.remote() for i, engine in enumerate(self.pool.engines) if running[i]]:
                ray.wait(aborts, num_returns=len(aborts))

    def _feed(
        self,
        queue: deque[Request],
        running: list[dict[tuple[int, int], Request]],
        calls: dict[ObjectRef[list[Completion]], int],
    ) -> None:
        """Deal waiting requests evenly and keep two calls in flight on every engine that has work."""
        for i, engine in enumerate(self.pool.engines):
            # Two: while the driver reads the answer of one, the engine already steps for the other.
            while list(calls.values()).count(i) < 2:
                # An even share of all that is left, rounded up: a fast engine must not empty the queue at the end.
                share = -(-(len(queue) + sum(map(len, running))) // len(self.pool.engines))
                space = max(0, min(share, self.most_samples) - len(running[i]))
                requests = [queue.popleft() for _ in range(min(space, len(queue)))]
                running[i] |= {request.key: request for request in requests}
                if not running[i]:
                    break
                # The engine refuses unless it holds this version: no token is written by stale weights.
                calls[engine.advance.remote(self.version, requests, SLICE_S)] = i

    def _requests(
        self,
        episodes: Episodes,
        prompts: Sequence[Prompt],
        samples: int,
        temperature: float,
        max_sequence_tokens: int,
        seed: int,
        skip: Container[tuple[str, int]],
        openings: Mapping[tuple[str, int], Sequence[int]],
    ) -> Iterator[Request]:
        """Yield a request for each sample of each prompt, as `generate` describes them."""
        ends = tuple(self.chat.ends)
        for p, prompt in enumerate(prompts):
            ids, length = self._encode(prompt)
            if length >= max_sequence_tokens:
                raise ValueError(
                    f"prompt '{prompt.id}': {length} tokens leave no room for a response; "
                    f"raise max_sequence_tokens ({max_sequence_tokens}) or drop the row"
                )
            # One request a sample, not vLLM's n: it withholds every sibling until the group's last one has ended.
            for s in range(samples):
                # `skip` and `openings` name a sample by the prompt's id, which their callers know; a request goes by
                # the prompt's index, which finds the prompt again.
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
                sample_seed = seed_of(seed, prompt.id, s)
                request = Request((p, s), (*ids, *opening), sample_seed, max_tokens, temperature, prompt.clips, ends)
                yield episodes.begin(prompt, request, seed, max_sequence_tokens, len(opening))

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
