"""Options of engines on GPUs that are not here: by memory, type and what the recipe says."""

from __future__ import annotations

from typing import Any

import pytest

from rollouts.engine_options import free_share, gpu_options, samples_in_flight, with_recipe
from rollouts.serving import EngineConfig

GB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "longest", "tokens"),
    [(79 * GB, 10240, 16384), (139 * GB, 32768, 32768), (39 * GB, 2048, 8192), (24 * GB, 10240, 10240)],
)
def test_prompts_are_read_many_at_a_time(memory: int, longest: int, tokens: int) -> None:
    """A prompt of the full length must fit, and vLLM's own default of 2,048 is for small GPUs."""
    options = gpu_options(memory, "bfloat16", longest)
    assert (options["max_num_batched_tokens"], options["max_num_seqs"]) == (tokens, 512)


def test_logits_are_float32_in_sixteen_bits() -> None:
    assert gpu_options(79 * GB, "bfloat16", 1)["hf_overrides"] == {"head_dtype": "float32"}
    assert "hf_overrides" not in gpu_options(79 * GB, "float32", 1)


def test_the_recipes_options_win_and_its_overrides_are_added() -> None:
    ours = gpu_options(79 * GB, "bfloat16", 1)
    merged = with_recipe(ours, {"max_num_seqs": 1024, "hf_overrides": {"rope_theta": 1e6}})
    assert merged["max_num_seqs"] == 1024
    assert merged["hf_overrides"] == {"head_dtype": "float32", "rope_theta": 1e6}
    assert with_recipe(ours, {"hf_overrides": {"head_dtype": "model"}})["hf_overrides"] == {"head_dtype": "model"}


@pytest.mark.parametrize(
    ("gpu", "recipe", "samples"),
    [(False, {}, 320), (True, {}, 640), (True, {"max_num_seqs": 1024}, 1280), (False, {"max_num_seqs": 8}, 10)],
)
def test_an_engines_queue_follows_what_it_runs(gpu: bool, recipe: dict[str, Any], samples: int) -> None:
    assert samples_in_flight(gpu, recipe) == samples


def test_an_engine_takes_no_more_than_is_free() -> None:
    assert free_share(int(78.5 * GB), 79 * GB, 0.92) == 0.92  # nobody else is there
    beside = free_share(50 * GB, 79 * GB, 0.92)  # trainers hold 29 GB
    assert 0.6 < beside < 50 / 79
    assert free_share(50 * GB, 79 * GB, 0.45) == 0.45
    assert free_share(0, 79 * GB, 0.92) == 0.0  # vLLM refuses in its own words


def test_batch_invariance_is_a_choice_on_gpus() -> None:
    assert EngineConfig(batch_invariant=True).environment(True)["VLLM_BATCH_INVARIANT"] == "1"
    assert "VLLM_BATCH_INVARIANT" not in EngineConfig().environment(True)
    assert "VLLM_BATCH_INVARIANT" not in EngineConfig(batch_invariant=True).environment(False)
