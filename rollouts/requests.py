"""Defines requests to an engine and its answers, each for one sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rl.types import Clip, Spans


@dataclass(frozen=True, slots=True)
class Request:
    """One sample to write. On a CPU the same seed gives the same tokens, whatever else the engine does meanwhile; on a GPU with
    `engines.batch_invariant`."""

    key: tuple[int, int]
    """(number of the group among all that its sampler was asked for, index of the sample in its group)."""
    tokens: tuple[int, ...]
    """Ids of the prompt, one audio token for each clip."""
    seed: int
    max_tokens: int
    temperature: float
    """0 is greedy."""
    clips: tuple[Clip, ...] = ()
    """The clips that stand at the audio tokens, in order."""
    ends: tuple[int, ...] = ()
    """Ids of tokens that end the sample, beside those that the model's config.json declares."""
    stop: tuple[str, ...] = ()
    """Texts behind which the sample pauses for its environment."""
    cuts: Spans = ()
    """(version, number of tokens) that each version of the weights is to write, in order, in a replay. Empty elsewhere:
    any version may write any token."""
    engine: int | None = None
    """Index of the engine whose cache holds the beginning of a sample that goes on; None: any engine may take it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished sample."""

    key: tuple[int, int]
    """Key of the request."""
    tokens: np.ndarray
    """[t] int64: the prompt as the engine saw it, audio expanded, then the response."""
    prompt_length: int
    """Tokens of the prompt among `tokens`."""
    logprobs: np.ndarray
    """[t - prompt_length] float32 logprobs of the response's tokens under the sampling distribution."""
    finish_reason: str
    """`stop` or `length`."""
    spans: Spans
    """(version, number of the response's tokens) that each version of the weights wrote, in order."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of a sample that is read while it is written."""

    name: str
    """Name of the sample."""
    tokens: list[int]
    finish_reason: str
    """`stop` or `length` with the last tokens; empty until then."""
    cached: int
    """Number of the prompt's tokens that were in the engine's cache."""
