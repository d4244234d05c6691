"""Tells whether the model will think, and what is lost where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from models.folder import folder_of
from rl.config import ConfigError
from rl.recipe.thinking import Thinking, choose_thinking, has_chain, unused_chains

if TYPE_CHECKING:
    from rl.data.inspection import DataFacts
    from rl.recipe import Recipe
    from rl.recipe.loader import DataRead
    from rl.types import Prompt


Facts = Mapping[tuple[str, str | None], "DataFacts"]


def describe(recipe: Recipe, facts: Facts) -> str:
    """Return what `model.think: auto` means here and why; empty where the recipe says it itself, and for a model that is
    refused."""
    if recipe.header.model.think != "auto":
        return ""
    choice = _choose(recipe, facts)
    return "" if isinstance(choice, ConfigError) else str(choice)


def check(recipe: Recipe, facts: Facts) -> tuple[list[str], list[str]]:
    """Return (problems, notes): a model that must think and does so in other tags; chains that are left out."""
    choice = _choose(recipe, facts)
    problems = [str(choice)] if isinstance(choice, ConfigError) else []
    return problems, list(dict.fromkeys(unused_chains(recipe, lambda read: _prompts(read, facts))))


def _choose(recipe: Recipe, facts: Facts) -> Thinking | ConfigError:
    try:
        folder = folder_of(str(recipe.header.model.text_source))
        return choose_thinking(recipe, lambda read: _prompts(read, facts), folder)
    except ConfigError as error:
        return error


def _prompts(read: DataRead, facts: Facts) -> Sequence[Prompt] | None:
    """Return the prompts of a read, or None where rows that were not looked at may have what these do not."""
    fact = facts[read.data, read.split]
    is_whole = fact.rows is not None and len(fact.prompts) >= fact.rows
    return fact.prompts if is_whole or any(map(has_chain, fact.prompts)) else None
