"""Scores the probe: one fixed sequence that engines and trainer score after every update of the weights.

Checksums show that weights have arrived; the probe shows that they are used. Suffixes: T tokens of the probe, its audio
expanded; A, those that are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rl.types import Clip

if TYPE_CHECKING:
    from vllm import LLMEngine
    from vllm.lora.request import LoRARequest


@dataclass(frozen=True, slots=True)
class Probe:
    """A sequence of ordinary tokens, after a clip where the model listens."""

    sent: tuple[int, ...]
    """Ids as an engine is sent them, one audio token for the clip."""
    tokens: tuple[int, ...]
    """[T] ids with the clip's audio token expanded, as trainers take them."""
    start: int
    """Number of tokens before the first that is scored."""
    clips: tuple[Clip, ...] = ()


def score_probe(
    engine: LLMEngine,
    step: Callable[[], Sequence[Any]],
    put_first: Callable[[str], AbstractContextManager[None]],
    prompt: Any,
    tokens: Sequence[int],
    start: int,
    adapter: LoRARequest | None = None,
) -> np.ndarray:
    """Return [A] float32 logprobs of the tokens from `start` on, at temperature 1, by the model with the `adapter`.

    `step` steps the engine and returns its outputs; within `put_first` a request is written before all others; `prompt`
    is the probe as vLLM takes it. Raises ValueError if vLLM expands it to other `tokens`."""
    from vllm import SamplingParams

    # A request for prompt logprobs reads nothing from the prefix cache, so all of the probe is computed anew.
    parameters = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
    engine.add_request("probe", prompt, parameters, lora_request=adapter)
    outputs: list[Any] = []
    # The trainer waits for the probe, which might queue until many samples in flight have ended.
    with put_first("probe"):
        while not outputs:
            outputs += step()
    output = outputs[0]
    if output.prompt_token_ids != list(tokens):
        raise ValueError("vLLM expands the probe's audio to other tokens than the trainer")
    return np.array([output.prompt_logprobs[t][tokens[t]].logprob for t in range(start, len(tokens))], dtype=np.float32)
