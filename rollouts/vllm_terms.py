"""Translates requests and finished samples to and from vLLM's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rl.types import Spans
from rollouts.requests import Completion, Piece, Request

if TYPE_CHECKING:
    from vllm import SamplingParams


def sampling_parameters(request: Request, stop_tokens: Sequence[int]) -> SamplingParams:
    """Return the parameters of a sample that is reported when it has ended; `stop_tokens` are those of the model."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=request.temperature,
        seed=request.seed,
        max_tokens=request.max_tokens,
        logprobs=0,  # of the sampled token alone
        flat_logprobs=True,
        detokenize=bool(request.stop),  # only where needed: without it 4.2 → 4.8–5.2 thousand tokens/s on one thread
        stop=list(request.stop),
        skip_special_tokens=False,  # a text to stop at may be a token of its own
        stop_token_ids=sorted({*stop_tokens, *request.ends}),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def streaming_parameters(request: Request, stop_tokens: Sequence[int], sampling: Mapping[str, float]) -> SamplingParams:
    """Return the parameters of a sample whose tokens are reported as they are written. `sampling` holds `top_p`, `top_k`, `min_p`
    and `repetition_penalty` where they are not vLLM's defaults."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        **cast("dict[str, Any]", dict(sampling)),
        temperature=request.temperature,
        seed=request.seed,
        max_tokens=request.max_tokens,
        detokenize=False,
        stop_token_ids=sorted({*stop_tokens, *request.ends}),
        output_kind=RequestOutputKind.DELTA,
    )


def completion(output: Any, request: Request, spans: Spans) -> Completion:
    """Return the sample of a finished request (vLLM's RequestOutput, whose parts are optional in its types)."""
    response = output.outputs[0]
    # Flat logprobs hold the entries of all positions end to end; the sampled token's is each position's first.
    starts = response.logprobs.start_indices
    return Completion(
        key=request.key,
        # The prompt as the engine saw it, one id for every audio token: what the trainer must learn on.
        tokens=np.asarray([*output.prompt_token_ids, *response.token_ids], dtype=np.int64),
        prompt_length=len(output.prompt_token_ids),
        logprobs=np.asarray([response.logprobs.logprobs[i] for i in starts], dtype=np.float32),
        finish_reason="stop" if response.finish_reason == "stop" else "length",
        spans=spans,
    )


def piece(output: Any) -> Piece:
    """Return what one step has added to a sample that is read while it is written."""
    response = output.outputs[0]
    reason = ("stop" if response.finish_reason == "stop" else "length") if output.finished else ""
    return Piece(output.request_id, list(response.token_ids), reason, output.num_cached_tokens or 0)
