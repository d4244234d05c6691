"""Finds columns that look like chains of thought and are not read as such: a model would learn the bare answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rl.data.inspection import DataFacts
from rl.data.sources import DataConfig
from rl.planning.golds import used_columns
from rl.recipe.thinking import has_chain

if TYPE_CHECKING:
    from rl.recipe import Recipe

CHAIN_NAMES = ("cot", "rationale", "rationales", "thought", "thoughts", "think", "scratchpad", "解析", "思考", "추론")
"""Usual names of a column of chains, in small letters and without `_`, beside those that are read by themselves."""
CHAIN_PARTS = ("chainofthought", "rationale", "reasoning", "complexcot", "longcot", "思维链", "推理")
"""Parts of such names: `deepseek_reasoning`, `Complex_CoT`."""


def check(recipe: Recipe, facts: Mapping[tuple[str, str | None], DataFacts]) -> tuple[list[str], list[str]]:
    """Return (problems, notes) about chains that demonstrations lack while a column may hold them: a note for each."""
    notes = dict[str, None]()
    for read in recipe.loads():
        config, fact = recipe.header.data[read.data], facts[read.data, read.split]
        if read.key or read.stage.facts.reads != "demonstrations" or recipe.header.model.think is False:
            continue
        column = find_chain_column(fact.columns, config)
        if column is None or any(map(has_chain, fact.prompts)):
            continue
        whereto = [key for key, name in config.fields.items() if name == column]
        state = f"goes to verifiers alone, as '{whereto[0]}'" if whereto else "is not read"
        notes[
            f"{read.place}: column '{column}' of '{read.data}' looks like a chain of thought and {state}; to teach it "
            f"before the answer map it: data.{read.data}.fields: {{reasoning: {column}}}"
        ] = None
    return [], list(notes)


def find_chain_column(columns: Sequence[str], config: DataConfig) -> str | None:
    """Return the column that most likely holds chains, of those that hold nothing else; None where the chains are mapped."""
    if "reasoning" in config.fields:
        return None
    simple_names = {re.sub(r"[\W_]", "", column.rpartition(".")[2]).casefold(): column for column in reversed(columns)}
    # One that `fields` hands on under such a name is a chain that somebody means and that nobody learns.
    handed_on = {name for key, name in config.fields.items() if _is_chain_name(re.sub(r"[\W_]", "", key).casefold())}
    used = used_columns(config) - handed_on
    return next((column for name, column in simple_names.items() if _is_chain_name(name) and column not in used), None)


def _is_chain_name(name: str) -> bool:
    return name in CHAIN_NAMES or any(part in name for part in CHAIN_PARTS)
