"""Keeps count, for samples that an engine is writing while its weights change, of which version wrote which tokens.

New weights come between two steps of the engine. vLLM then recomputes the keys and values of what runs, by the new
weights, and goes on; a seeded sample keeps its stream of random numbers. So the place where a sample was cut decides its
tokens: a run that is told the cuts of another one (`Request.cuts`) holds each sample back at them, and writes the same.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from rl.types import Spans
from rollouts.requests import Request

if TYPE_CHECKING:
    from vllm import LLMEngine


def keep_clips() -> None:
    """Make vLLM's workers keep the sound of every sample, in this process."""
    from vllm.v1.core.sched import output

    module = cast("Any", output)  # the function is not among its public ones
    # vLLM leaves out clips that lie in the part of a prompt that the prefix cache covers. New weights empty that cache,
    # the sample is computed anew from its beginning, and its clips are missing: `Encoder cache miss` (vLLM 0.30).
    assert callable(module.strip_covered_mm_data), "vLLM leaves out clips elsewhere"

    def keep(features: object, computed_tokens: int, uses_mrope: bool = False) -> object:
        return features

    module.strip_covered_mm_data = keep


class InFlight:
    """The samples in flight of one engine, by vLLM's names of their requests."""

    def __init__(self, engine: LLMEngine) -> None:
        self.engine = engine
        self.version = -1
        """Version of the weights that write now."""
        self.requests: dict[str, Request] = {}
        self._spans: dict[str, Spans] = {}  # of earlier versions
        self._held: dict[str, Any] = {}  # vLLM's own requests, taken out of its scheduler

    @property
    def idle(self) -> bool:
        """True where no sample can go on under this version."""
        return len(self.requests) == len(self._held)

    def add(self, name: str, request: Request) -> None:
        """Take note of a request that vLLM has been given under `name`."""
        self.requests[name], self._spans[name] = request, ()
        self._hold([name])  # before its first step: in a replay it may be a later version's to begin

    def begin(self, version: int) -> None:
        """Take note of new weights: what was written so far is of the version before."""
        # Counted before `self.version` changes: a span belongs to the version that wrote it.
        for name in self.requests:
            self._spans[name] = self._spans_so_far(name, self._written(name))
        self.version = version
        for name in [name for name in self._held if not self._waits(name)]:
            # As vLLM treats a preempted request: its prompt and what was written are computed anew.
            self._scheduler.waiting.add_request(self._held.pop(name))

    def hold(self) -> None:
        """Hold back the samples that are to go on under a later version. Called after each step of the engine."""
        self._hold([name for name, request in self.requests.items() if request.cuts and name not in self._held])

    @contextmanager
    def put_first(self, name: str) -> Generator[None]:
        """Let vLLM write a request that it was just given in the next step, however many others wait or run. Those that
        wait are kept out of its queues until the context ends."""
        scheduler = self._scheduler
        request = self._request(name)
        # With `kv: keep` nothing was preempted for the new weights, so the engine may be full: make room first.
        while scheduler.running and self._lacks_space_for(request):
            # The last one, as vLLM itself does where memory runs short.
            self._preempt(scheduler.running[-1])
        # In the same step vLLM would recompute the samples that it has preempted, and the caller would wait for that,
        # too.
        queues = scheduler.skipped_waiting, scheduler.waiting
        others = [[other for other in queue if other is not request] for queue in queues]
        for queue, requests in zip(queues, others, strict=True):
            queue.remove_requests(requests)
        try:
            yield
        finally:
            for queue, requests in zip(queues, others, strict=True):
                for other in requests:
                    queue.add_request(other)

    def end(self, name: str, written: int) -> tuple[Request, Spans]:
        """Return the request of a sample that has ended with so many tokens, and how many each version wrote."""
        spans = self._spans_so_far(name, written)
        del self._spans[name]
        return self.requests.pop(name), spans

    def drop(self, names: Iterable[str]) -> None:
        """Forget requests that vLLM was told to abort."""
        for name in names:
            del self.requests[name], self._spans[name]
            self._held.pop(name, None)

    @property
    def _scheduler(self) -> Any:
        core = cast("Any", self.engine.engine_core)  # the engine is in this process: a client around vLLM's core
        return core.engine_core.scheduler

    def _request(self, name: str) -> Any:
        """Return vLLM's own request object; vLLM appends a random suffix to the name that it was given."""
        if name in self._held:
            return self._held[name]
        return self._scheduler.requests[self.engine.output_processor.external_req_ids[name][0]]

    def _written(self, name: str) -> int:
        return self._request(name).num_output_tokens

    def _spans_so_far(self, name: str, written: int) -> Spans:
        # A version under which a sample only waited wrote nothing of it, and has no span.
        new = written - sum(count for _, count in self._spans[name])
        return (*self._spans[name], (self.version, new)) if new else self._spans[name]

    def _waits(self, name: str) -> bool:
        """Return whether the sample's next token is another version's to write."""
        cuts, written = self.requests[name].cuts, self._written(name)
        for version, count in cuts:
            if written < count:
                return version != self.version
            written -= count
        return False  # of no replay; or past all that was planned, where it ends by itself

    def _hold(self, names: Iterable[str]) -> None:
        scheduler = self._scheduler
        for name in names:
            if not self.requests[name].cuts or not self._waits(name):
                continue
            request = self._request(name)
            if request in scheduler.running:
                self._preempt(request)  # frees its cache blocks and puts it into `waiting`
            scheduler.waiting.remove_request(request)
            self._held[name] = request

    def _lacks_space_for(self, request: Any) -> bool:
        """Return whether vLLM would let a new request wait for what runs."""
        scheduler = self._scheduler
        # One block more for the token that it writes, and one for each running request: these may need a new block in
        # the same step, and vLLM serves them first.
        blocks = -(-request.num_tokens // scheduler.block_size) + 1 + len(scheduler.running)
        free = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
        return len(scheduler.running) >= scheduler.max_num_running_reqs or free < blocks

    def _preempt(self, request: Any) -> None:
        """Move a running request to the front of vLLM's waiting queue."""
        scheduler = self._scheduler
        scheduler.running.remove(request)
        # vLLM drops what a step under way still brings of it: that token is written anew.
        scheduler._preempt_request(request, time.monotonic(), drop_stale_output=True)
        # If it is scheduled again in the very next step, vLLM must not take it for a request that has run without a
        # break.
        scheduler.prev_step_scheduled_req_ids.discard(request.request_id)
