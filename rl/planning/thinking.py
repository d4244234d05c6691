"""Tells whether the model will think, and what is lost where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from models.folder import folder_of
from rl.recipe.thinking import choose_thinking, has_chain, unused_chains

if TYPE_CHECKING:
    from rl.data.inspection import DataFacts
    from rl.recipe import Recipe
    from rl.recipe.loader import DataRead
    from rl.types import Prompt


def describe(recipe: Recipe, facts: Mapping[tuple[str, str | None], DataFacts]) -> tuple[str, list[str]]:
    """Return (what `model.think: auto` means here and why, empty where the recipe says it itself; notes)."""

    def prompts(read: DataRead) -> Sequence[Prompt] | None:
        fact = facts[read.data, read.split]
        is_whole = fact.rows is not None and len(fact.prompts) >= fact.rows
        # Rows that were not looked at may have what the first ones do not.
        return fact.prompts if is_whole or any(map(has_chain, fact.prompts)) else None

    if recipe.header.model.think != "auto":
        return "", list(dict.fromkeys(unused_chains(recipe, prompts)))
    return str(choose_thinking(recipe, prompts, folder_of(str(recipe.header.model.text_source)))), []
