"""Finds lengths and batches with which a first recipe fits its machine, by planning it: nothing is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from omegaconf import OmegaConf

from rl.config import ConfigError
from rl.planning.plan import Plan, plan
from rl.recipe import Recipe, load
from rl.starter.recipe_text import Choices, Sizes, render

ANSWER_TOKENS = {"math": (2048, 256), "code": (2048, 384), "judge": (1024, 192), "": (1024, 256)}
"""Tokens of an answer on GPUs and on a CPU, by reward."""
OTHER_ANSWER_TOKENS = (1024, 128)
SHORTEST_ANSWER = 32
TEMPLATE_TOKENS = 64
"""Tokens that a chat template adds, with its system turn."""


def fit(choices: Choices, longest_prompt: int, positions: int | None, folder: Path) -> tuple[str, Plan, Sizes]:
    """Return (text, plan, sizes) of the first recipe of `candidates` that fits, or of the one with the fewest problems. `longest_prompt`: its
    tokens, without those of the chat template. `positions`: the longest sequence that the model takes, where that is known.
    The recipe is to lie in `folder`. Raises ConfigError for a recipe that cannot be loaded."""
    best: tuple[str, Plan, Sizes] | None = None
    for sizes in candidates(choices, longest_prompt, positions):
        text = render(choices, sizes)
        fitting = text, plan(load_text(text, folder)), sizes
        if not any(_is_about_size(line) for line in [*fitting[1].problems, *fitting[1].notes]):
            return fitting
        if best is None or len(fitting[1].problems) < len(best[1].problems):
            best = fitting
    if best is None:
        fix = "choose another, or drop the row"
        raise ConfigError(f"--model: it takes {positions} tokens, and the longest prompt has {longest_prompt}; {fix}")
    return best


def candidates(choices: Choices, longest_prompt: int, positions: int | None) -> Iterator[Sizes]:
    """Yield sizes from the most generous to the smallest."""
    prompt_tokens = _round_up(longest_prompt + TEMPLATE_TOKENS, 64)
    answer = ANSWER_TOKENS.get(choices.reward, OTHER_ANSWER_TOKENS)[0 if choices.gpus else 1]
    while answer >= SHORTEST_ANSWER:
        if positions is None or prompt_tokens + answer <= positions:
            yield from _batches(choices, Sizes(answer, prompt_tokens, 0))
        answer //= 2


def _batches(choices: Choices, sizes: Sizes) -> Iterator[Sizes]:
    least = _round_up(sizes.sequence_tokens, 512)  # a micro-batch holds whole sequences
    if not choices.gpus:
        for tokens in (2048, 1024, 512):
            yield replace(sizes, tokens_per_microbatch=max(tokens, least))
        return
    for tokens in () if choices.is_large else (16384, 8192, 4096):
        yield replace(sizes, tokens_per_microbatch=max(tokens, least))
    # Split weights and recomputed activations cost time: they come last, for a model that does not fit otherwise.
    for engine_gpus in (1, 2, 4, 8):
        if engine_gpus <= choices.gpus and choices.gpus % engine_gpus == 0:
            zero3 = replace(sizes, zero_stage=3, gradient_checkpointing=True, engine_gpus=engine_gpus)
            yield replace(zero3, tokens_per_microbatch=max(8192, least))


def load_text(text: str, folder: Path) -> Recipe:
    """Return the recipe in a text, as if its file lay in `folder`. Raises ConfigError."""
    # Through OmegaConf's own reader of YAML, which takes 1e-6 for a number, as `load` does for a file.
    values = cast("dict[str, object]", OmegaConf.to_container(OmegaConf.create(text)))
    return load(values, folder=folder)


def _is_about_size(line: str) -> bool:
    return line.startswith(("memory:", "engines.kv_cache_mb", "engines.gpus", "activations"))


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
