"""One vLLM engine in one Ray actor, advanced in slices of time.

The engine runs in the actor's own process. `advance` takes new requests, steps the engine for a slice and returns what
has finished: with two calls in flight the engine never waits for the driver, and no thread is needed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from rl.audio import SAMPLE_RATE, waveform
from rl.types import Clip
from rollouts.serving import ServingConfig

if TYPE_CHECKING:
    from ray import ObjectRef


class WeightBucket(TypedDict, total=False):
    """Some of a model's weights, as a trainer hands them to an engine: the fields of
    `rollouts.weight_transfer.Bucket`, whose module imports vLLM and so stays out of the driver."""

    tensors: ObjectRef[Mapping[str, np.ndarray]] | None
    folder: str | None
    frozen: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """One sample to write. The same seed gives the same tokens, whatever else the engine does meanwhile."""

    key: tuple[int, int]
    """(index of the prompt in its call, index of the sample in its group)."""
    tokens: tuple[int, ...]
    seed: int
    max_tokens: int
    temperature: float
    """0 is greedy."""
    clips: tuple[Clip, ...] = ()
    """What is heard at the audio tokens of `tokens`, one each."""


@dataclass(frozen=True, slots=True)
class Completion:
    """`tokens` [t] int64: the prompt as the engine saw it, then what it wrote; `logprobs` [written] float32."""

    key: tuple[int, int]
    tokens: np.ndarray
    prompt_length: int
    logprobs: np.ndarray
    finish_reason: str
    version: int


class EngineWorker:
    """Ray actor. `version` is that of the weights it holds; it refuses to write for any other. With `sleeps` it is awake
    while it loads weights and from the first request of a generation to `rest`, and at no other time."""

    def __init__(
        self,
        model: str,
        dtype: str,
        max_sequence_tokens: int,
        config: ServingConfig,
        sleeps: bool = False,
    ) -> None:
        import torch
        from vllm import EngineArgs, LLMEngine

        from rollouts import weight_transfer

        options: dict[str, Any] = {
            "model": model,
            "dtype": dtype,
            "max_model_len": max_sequence_tokens,
            "max_num_seqs": 256,
            "logprobs_mode": "processed_logprobs",
            "disable_log_stats": True,
            "seed": 0,
        }
        weight_transfer.register()
        options["weight_transfer_config"] = {"backend": weight_transfer.BACKEND}
        options |= config.on_device()
        if torch.cuda.is_available():
            options["enable_sleep_mode"] = sleeps
        else:
            # A prompt cut into chunks would rewind its seeded generator, which CPU generators cannot do.
            options["enable_chunked_prefill"] = False
            options["max_num_batched_tokens"] = max(max_sequence_tokens, 8192)
        self.engine = LLMEngine.from_engine_args(EngineArgs(**{**options, **config.vllm}))
        eos = self.engine.model_config.hf_text_config.eos_token_id  # beside the tokenizer's, at which vLLM stops anyway
        self.stop_tokens: list[int] = list(eos) if isinstance(eos, list | tuple) else [] if eos is None else [eos]
        self.parallel = self.engine.vllm_config.parallel_config.world_size > 1
        self.version = -1
        self.running: dict[str, Request] = {}
        self.sleeps, self.asleep = sleeps, False
        self.rest()

    def ready(self) -> bool:
        return True

    def load(self, version: int, buckets: Sequence[WeightBucket]) -> int:
        """Takes new weights and forgets all that was computed with the old ones. Returns the version now held."""
        from rollouts import weight_transfer

        assert not self.running, "weights change only between generations"
        self._wake()
        self.version = -1  # a load that fails half-way leaves an engine that refuses to write
        self.engine.collective_rpc("start_weight_update")
        for bucket in buckets:
            with weight_transfer.within_reach(bucket, self.parallel) as near:
                self.engine.collective_rpc("update_weights", args=(near,))
        self.engine.collective_rpc("finish_weight_update")
        if lacking := self.engine.collective_rpc(weight_transfer.missing)[0]:
            raise ValueError(f"the new weights lack {lacking[0]} ({len(lacking)} in all); are they another model's?")
        self.engine.reset_prefix_cache()
        self.engine.reset_mm_cache()
        self.engine.reset_encoder_cache()
        self.version = version
        self.rest()
        return version

    def advance(self, version: int, requests: Sequence[Request], slice_s: float) -> list[Completion]:
        """Takes `requests` in, steps for `slice_s` seconds or until idle, and returns the samples that ended.
        Raises RuntimeError if the weights are not those of `version`."""
        if version != self.version:
            raise RuntimeError(f"the engine holds policy version {self.version}, not {version}: load the weights first")
        self._wake()
        for request in requests:
            name = f"{request.key[0]}/{request.key[1]}"
            self.running[name] = request
            self.engine.add_request(name, _prompt(request), self._sampling(request))
        completions: list[Completion] = []
        until = time.monotonic() + slice_s
        while self.engine.has_unfinished_requests():
            completions += [self._completion(output) for output in self.engine.step() if output.finished]
            if time.monotonic() > until:
                break
        return completions

    def abort(self) -> None:
        """Drops everything in flight."""
        self.engine.abort_request(list(self.running))
        self.running.clear()

    def rest(self) -> None:
        """Where trainers share its GPU, gives them the memory of weights and cache until it is next asked for something.
        (Weights alone cannot be woken for a load: vLLM 0.30 takes an engine half awake for one that sleeps.)"""
        if self.sleeps and not self.asleep:
            self.engine.sleep(level=1)
            self.asleep = True

    def _wake(self) -> None:
        if self.asleep:
            self.engine.wake_up()
            self.asleep = False

    def _sampling(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=request.temperature,
            seed=request.seed,
            max_tokens=request.max_tokens,
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            stop_token_ids=self.stop_tokens,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _completion(self, output: Any) -> Completion:
        request = self.running.pop(output.request_id)
        written = output.outputs[0]
        starts = written.logprobs.start_indices
        return Completion(
            request.key,
            np.asarray([*output.prompt_token_ids, *written.token_ids], dtype=np.int64),
            len(output.prompt_token_ids),
            np.asarray([written.logprobs.logprobs[i] for i in starts], dtype=np.float32),
            "stop" if written.finish_reason == "stop" else "length",
            self.version,
        )


def _prompt(request: Request) -> Any:
    """As vLLM takes it. Raises ValueError naming a clip that cannot be heard."""
    prompt: dict[str, Any] = {"prompt_token_ids": list(request.tokens)}
    if request.clips:
        prompt["multi_modal_data"] = {"audio": [(waveform(clip), SAMPLE_RATE) for clip in request.clips]}
    return prompt
