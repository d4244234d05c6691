"""Checks of ranks that share the tokens of a pack, and of activations in the host's memory, for `rl check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl.recipe import Recipe


def check(recipe: Recipe, _facts: object, heads: int) -> tuple[list[str], list[str]]:
    """Return (problems, notes) of `trainer.sequence_parallel` and `trainer.offload_activations`; `heads` of the model's
    attention, 0 where they are not known."""
    trainer, problems = recipe.header.trainer, list[str]()
    size = trainer.sequence_parallel
    for count, thing in ((trainer.ranks, "trainer.ranks"), (heads, "attention heads of the model")):
        if count % size:
            # Of both numbers: the advice must not fail at the other one.
            divisors = [n for n in range(1, count + 1) if not trainer.ranks % n and not heads % n]
            problems.append(
                f"trainer.sequence_parallel: {size} does not divide the {count} {thing}; "
                f"choose {', '.join(map(str, divisors[:-1]))}{' or ' if divisors[1:] else ''}{divisors[-1]}"
            )
            break
    if trainer.offload_activations and not recipe.header.model.gradient_checkpointing:
        problems.append(
            "trainer.offload_activations: moves the inputs that gradient checkpointing keeps; set "
            "model.gradient_checkpointing: true, or remove it"
        )
    return problems, []
