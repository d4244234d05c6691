"""Chooses the options of the policy's engines that follow from the device; pure functions, testable without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHARE, WHOLE_SHARE = "gpu_memory_utilization", 0.92
"""vLLM's option for the share of a GPU's memory that an engine takes, and its default."""
LARGE_GPU = 75 << 30
"""Bytes from which on a GPU counts as one of 80 GB, which reports 79 GiB."""
WAITING_SHARE = 0.25
"""Samples in vLLM's queue, as a share of those that run: they take the places of samples that end during a slice."""


def base_options(model: str, dtype: str, longest: int, keeps_cache: bool) -> dict[str, Any]:
    """Return vLLM's options on any device, for sequences of at most `longest` tokens; with `keeps_cache` samples go on with
    what earlier weights have computed."""
    options: dict[str, Any] = {
        "model": model,
        "dtype": dtype,
        "max_model_len": longest,
        "max_num_seqs": running_samples(False, {}),
        "logprobs_mode": "processed_logprobs",  # at the sampling temperature; by default vLLM gives those at 1
        "disable_log_stats": True,
        "seed": 0,
    }
    # With asynchronous scheduling a step is under way when weights change. Its tokens would count as the new weights',
    # except that without `keeps_cache` vLLM drops them.
    return options | ({"async_scheduling": False} if keeps_cache else {})


def cpu_options(longest: int) -> dict[str, Any]:
    """Return vLLM's options for a CPU."""
    # A prompt cut into chunks would rewind its seeded generator, which CPU generators cannot do.
    # So one step must take the longest prompt whole.
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(longest, 8192)}


def gpu_options(memory: int, dtype: str, longest: int) -> dict[str, Any]:
    """Return vLLM's options for a GPU of so many bytes and sequences of at most `longest` tokens."""
    options: dict[str, Any] = {
        # An engine built in this process takes vLLM's smallest default, 2,048: prompts of 8 × as many are read at once.
        "max_num_batched_tokens": max(16384 if memory >= LARGE_GPU else 8192, longest),
        "max_num_seqs": running_samples(True, {}),
    }
    if dtype != "float32":
        # Logits are added up and kept in float32, as the trainer's are: rounded to 16 bits they are the largest part of the
        # gap between the two. One product with another type of result; nothing is copied.
        options["hf_overrides"] = {"head_dtype": "float32"}
    return options


def with_recipe(options: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, overridden by the recipe's; overrides of the model's config (`hf_overrides`) are merged."""
    merged = {**options, **recipe}
    overrides, more = options.get("hf_overrides"), recipe.get("hf_overrides")
    if isinstance(overrides, dict) and isinstance(more, dict):
        merged["hf_overrides"] = {**overrides, **more}
    return merged


def running_samples(gpu: bool, recipe: Mapping[str, Any]) -> int:
    """Return how many samples an engine runs at once (`max_num_seqs`)."""
    # More on a GPU: each step reads all weights, whatever the number of samples (1.1 ms for 1.5B parameters).
    return int(recipe.get("max_num_seqs", 512 if gpu else 256))


def samples_in_flight(gpu: bool, recipe: Mapping[str, Any]) -> int:
    """Return how many samples an engine is given at most: those that run and those that wait to take their place."""
    return int(running_samples(gpu, recipe) * (1 + WAITING_SHARE))


def free_share(free: int, total: int, planned: float, margin: int = 1 << 30) -> float:
    """Return the share of a GPU's memory for an engine that replaces a dead one while other processes hold memory: the
    planned share, or less. vLLM refuses to start if less is free than it is told to take. Sizes are in bytes."""
    return min(planned, max(0.0, (free - margin) / total))
