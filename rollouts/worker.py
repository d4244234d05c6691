"""Runs one vLLM engine in one Ray actor, advanced in slices of time.

The engine runs in the actor's own process: with vLLM's multiprocessing a CPU engine takes three processes and 40 s to
start. `advance` takes new requests, steps the engine for a slice and returns what has finished; with two calls in flight
the engine never waits for the driver. `end_period` alone runs in a thread of its own, beside a slice, and cuts it short:
new weights then wait for one step of the engine, and not for two slices.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from rl.audio import SAMPLE_RATE, waveform
from rollouts.arrival import Checksums, Receipt, checksum
from rollouts.device_memory import read_gpus
from rollouts.engine_options import (
    SHARE,
    WHOLE_SHARE,
    base_options,
    cpu_options,
    free_share,
    gpu_options,
    with_recipe,
)
from rollouts.in_flight import InFlight, keep_clips
from rollouts.memory import Call, Level, Memory
from rollouts.probe import Probe, score_probe
from rollouts.rendezvous import private_rendezvous
from rollouts.requests import Completion, Piece, Request
from rollouts.serving import ServingConfig
from rollouts.vllm_terms import completion, piece, sampling_parameters, streaming_parameters
from rollouts.weights import WeightBucket

if TYPE_CHECKING:
    from torch import Tensor
    from vllm.lora.request import LoRARequest


class EngineWorker:
    """Ray actor of one of the policy's engines.

    `version` names the weights it holds; it refuses to write for any other. With `sleeps`, where trainers share its GPU,
    it holds that memory from a load or a generation's first request to `rest`. With an `adapter_rank` it takes LoRA adapters
    of up to that rank. With `keeps_cache` samples go on with the keys and values that earlier weights have computed."""

    def __init__(
        self,
        model: str,
        dtype: str,
        max_sequence_tokens: int,
        config: ServingConfig,
        sleeps: bool = False,
        adapter_rank: int = 0,
        keeps_cache: bool = False,
    ) -> None:
        import torch
        from vllm import EngineArgs, LLMEngine

        from rollouts import adapters, weight_transfer

        options = base_options(model, dtype, max_sequence_tokens, keeps_cache)
        weight_transfer.register()
        options |= {"weight_transfer_config": {"backend": weight_transfer.BACKEND}}
        options |= config.on_device() | adapters.engine_options(adapter_rank)
        free = total = 0
        if torch.cuda.is_available():
            free, total = read_gpus(config.gpus)
            options |= gpu_options(total, dtype, max_sequence_tokens) | {"enable_sleep_mode": sleeps}
        else:
            options |= cpu_options(max_sequence_tokens)
        options = with_recipe(options, config.vllm)  # the recipe's keys win
        if sleeps and torch.cuda.is_available() and "kv_cache_memory_bytes" not in options:
            # An engine that replaces a dead one starts while trainers hold memory of the GPU: it plans with what is
            # free.
            options[SHARE] = free_share(free, total, options.get(SHARE, WHOLE_SHARE))
        arguments = EngineArgs(**{"trust_remote_code": cast(Any, False), **options})
        keep_clips()
        with private_rendezvous():
            self.engine = LLMEngine.from_engine_args(arguments)
        if not torch.cuda.is_available():
            from rollouts.cpu_sampling import use_one_draw

            self.engine.collective_rpc(use_one_draw)
            if adapter_rank:
                from rollouts.cpu_adapters import use_products

                self.engine.collective_rpc(use_products)
        # vLLM stops at the tokenizer's end of turn by itself; a config.json may name others, which each request must
        # list.
        eos: int | list[int] | None = self.engine.model_config.hf_text_config.eos_token_id
        if eos is None:
            eos = []
        self.stop_tokens = [eos] if isinstance(eos, int) else list(eos)
        self.parallel = self.engine.vllm_config.parallel_config.world_size > 1
        self.version = -1
        self.adapter: LoRARequest | None = None  # the LoRA adapter of this version, where the trainer sends one
        self.in_flight = InFlight(self.engine)
        self.finished: list[Completion] = []  # not yet returned
        # How streamed samples are drawn, beside their temperature; others are trained on, from the whole distribution.
        self.stream_sampling: Mapping[str, float] = {}
        self.ended_period = 0  # the newest period of its dispatcher that is over
        self.keeps_cache = keeps_cache
        self.memory = Memory(sleeps)
        self.rest()

    def ready(self) -> bool:
        """Return True once vLLM has started: Ray calls no method before the constructor has ended."""
        return True

    def load(self, version: int, buckets: Sequence[WeightBucket], probe: Probe | None = None) -> Receipt:
        """Load new weights, forget all that was computed with the old ones, and return the checksums of what was
        received and the logprobs of the probe. Samples in flight go on under the new weights. Raises ValueError for a
        parameter that is missing, that the model does not take, or that holds a NaN or an infinity in a folder."""
        from rollouts import adapters, weight_transfer

        self._apply(self.memory.begin_load())
        self.version = -1  # until all is loaded: after a load that fails half-way it refuses to write
        self.engine.collective_rpc("start_weight_update")
        for bucket in buckets:
            if bucket.get("adapter"):  # loaded below, beside the model and not into it
                continue
            # By handle or path: tensors nested in `collective_rpc` arguments would arrive as lists.
            with weight_transfer.readable_by_workers(bucket, self.parallel) as readable:
                self.engine.collective_rpc("update_weights", args=(readable,))
        self.engine.collective_rpc("finish_weight_update")
        self._apply(self.memory.end_load())
        if refusals := [text for text in self.engine.collective_rpc(weight_transfer.refusal) if text]:
            raise ValueError(refusals[0])
        missing: list[str] = self.engine.collective_rpc(weight_transfer.missing_parameters)[0]
        if missing:
            raise ValueError(f"the new weights lack {missing[0]} ({len(missing)} in all); are they another model's?")
        # Of each worker, "" where it has found none: `max` takes a name rather than that.
        broken: list[str] = self.engine.collective_rpc(weight_transfer.broken_parameter)
        if any(broken):
            raise ValueError(
                f"{buckets[0].get('folder')}: its weights are broken: {max(broken)}; fetch or train it again"
            )
        tensors: dict[str, Tensor] = {}
        config = ""
        for bucket in buckets:
            if adapter_config := bucket.get("adapter"):
                tensors |= weight_transfer.read_bucket(bucket)
                config = adapter_config
        self.adapter = adapters.load_adapter(self.engine, tensors, config, version) if config else None
        self._forget()
        self.version = version
        self.in_flight.begin(version)
        return self._receipt(probe, {name: checksum(tensor) for name, tensor in tensors.items()})

    def _forget(self) -> None:
        """Forget what was computed by the old weights: it would be served on."""
        # Samples in flight included, unless the cache is kept: vLLM puts them at the front of its queue and computes
        # their prompt and what they have written anew, as one prompt.
        forgotten = self.engine.reset_prefix_cache(reset_running_requests=not self.keeps_cache)
        if not forgotten and not self.keeps_cache:
            raise ValueError("vLLM goes on with prefixes that the old weights have computed")
        self.engine.reset_mm_cache()
        self.engine.reset_encoder_cache()  # audio embeddings: old weights of the audio adapter computed them

    def _receipt(self, probe: Probe | None, adapter: Checksums) -> Receipt:
        """Return the checksums of the last update, those of an `adapter` included, and the probe's logprobs under
        it."""
        from rollouts import weight_transfer

        workers: list[tuple[Checksums, float]] = self.engine.collective_rpc(weight_transfer.arrivals)
        start = time.monotonic()
        score = None
        if probe is not None:
            request = Request((0, 0), probe.sent, seed=0, max_tokens=1, temperature=0.0, clips=probe.clips)
            prompt = self._prompt(request)
            step, put_first = self._step, self.in_flight.put_first
            score = score_probe(self.engine, step, put_first, prompt, probe.tokens, probe.start, self.adapter)
        seconds = time.monotonic() - start + max(seconds for _, seconds in workers)  # workers sum in parallel
        return Receipt(self.version, [{**sums, **adapter} for sums, _ in workers], score, seconds)

    def advance(
        self, version: int, requests: Sequence[Request], slice_s: float, period: float = math.inf
    ) -> list[Completion]:
        """Add `requests`, step until `slice_s` seconds have passed, the engine is idle or the `period` is over, and
        return the samples that ended. Raises RuntimeError unless the engine holds the weights of `version`."""
        if version != self.version:
            raise RuntimeError(f"the engine holds policy version {self.version}, not {version}: load the weights first")
        self._apply(self.memory.begin_generation())
        for request in requests:
            name = f"{request.key[0]}/{request.key[1]}"
            parameters = sampling_parameters(request, self.stop_tokens)
            self.engine.add_request(name, self._prompt(request), parameters, lora_request=self.adapter)
            self.in_flight.add(name, request)
        if self.in_flight.requests and self.in_flight.idle and period > self.ended_period:
            time.sleep(slice_s)  # in a replay all samples may wait for a later version: the driver must not spin
        deadline = time.monotonic() + slice_s
        # Checked before each step: a call that was still queued when its period ended takes no step at all.
        while not self.in_flight.idle and period > self.ended_period:
            self._step()
            if time.monotonic() > deadline:
                break
        return self._take_finished()

    def end_period(self, period: int) -> None:
        """Stop calls of `advance` that belong to this period after the step that they are taking. Runs in another
        thread."""
        # A number, not a flag: however late it comes, it stops no call of a later period.
        self.ended_period = max(self.ended_period, period)

    def settle(self) -> list[Completion]:
        """Step until every sample has ended or, in a replay, waits for a later version; return those that ended."""
        while not self.in_flight.idle:
            self._step()
        return self._take_finished()

    def _step(self) -> list[Any]:
        """Step once, keep the samples that have ended for `advance`, and return vLLM's other outputs: the probe's and
        those of samples that are read while they are written."""
        others: list[Any] = []
        for output in cast("list[Any]", self.engine.step()):
            if output.request_id not in self.in_flight.requests:
                others.append(output)
            elif output.finished:
                request, spans = self.in_flight.end(output.request_id, len(output.outputs[0].token_ids))
                self.finished.append(completion(output, request, spans))
        self.in_flight.hold()
        return others

    def _take_finished(self) -> list[Completion]:
        finished, self.finished = self.finished, []
        return finished

    def stream(self, request: Request) -> Generator[list[int]]:
        """Yield the tokens of one sample as they are written. A sample that is left early is dropped."""
        self.begin_stream("stream", request)
        try:
            while self.engine.has_unfinished_requests():
                for piece in self.step_streams():
                    yield piece.tokens
        finally:
            self.end_streams(["stream"])

    def begin_stream(self, name: str, request: Request) -> None:
        """Add a sample that is read while it is written, by the weights that the engine holds, whatever they are: its
        tokens come without logprobs and version. Raises ValueError for a prompt that is too long, and for a clip that
        cannot be decoded."""
        self._apply(self.memory.begin_generation())
        parameters = streaming_parameters(request, self.stop_tokens, self.stream_sampling)
        self.engine.add_request(name, self._prompt(request), parameters, lora_request=self.adapter)

    def step_streams(self) -> list[Piece]:
        """Step once and return the new tokens of the samples that `begin_stream` added."""
        return [piece(output) for output in self._step()]

    def end_streams(self, names: Sequence[str]) -> None:
        """Drop samples that `begin_stream` added; names of samples that have ended are ignored."""
        self.engine.abort_request(list(names))

    def abort(self, keys: Sequence[tuple[int, int]]) -> None:
        """Drop the samples of these keys, those that have ended and were not returned yet included."""
        names = [name for name, request in self.in_flight.requests.items() if request.key in keys]
        self.engine.abort_request(names)
        self.in_flight.drop(names)
        self.finished = [completion for completion in self.finished if completion.key not in keys]

    def rest(self, level: Level = 1) -> None:
        """Give the GPU memory of weights and cache to trainers that share it, until the engine is next used; at level 2 the
        weights are dropped, and a load must bring them."""
        from rollouts import weight_transfer

        calls = self.memory.rest(level)
        if calls and level == 2:
            self.engine.collective_rpc(weight_transfer.forget_frozen)
        self._apply(calls)

    def _apply(self, calls: Sequence[Call]) -> None:
        """Make the calls to vLLM that `Memory` has planned."""
        for method, arguments in calls:
            getattr(self.engine, method)(*arguments)

    def _prompt(self, request: Request) -> Any:
        """Return the prompt as vLLM takes it. Raises ValueError naming a clip that cannot be decoded."""
        prompt: dict[str, Any] = {"prompt_token_ids": list(request.tokens)}
        if request.clips:
            prompt["multi_modal_data"] = {"audio": [(waveform(clip), SAMPLE_RATE) for clip in request.clips]}
        if self.keeps_cache:
            # Prefixes that earlier weights computed are still in the cache: the salt keeps a new prompt from sharing
            # them.
            prompt["cache_salt"] = f"version {self.version}"
        return prompt
