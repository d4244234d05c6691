"""Arguments and options that several commands share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

import typer

from rl import bundled


def complete_recipe(incomplete: str) -> list[str]:
    """Return the bundled recipes that begin with what was typed; the shell itself completes files."""
    return [name for name in bundled.names() if name.startswith(incomplete)]


RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="A YAML file, or the name of a bundled recipe.", autocompletion=complete_recipe
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, such as rlvr.steps=20.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
FromRecipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="Take data, reward and engines from this recipe.",
        autocompletion=complete_recipe,
    ),
]


def as_override(option: str, arguments: Sequence[str]) -> str | None:
    """Return how to write an option that no command has, but a recipe as a key (`--rlvr.steps=3`, `--learning_rate 1e-6`), or
    None for any other."""
    from rl.recipe.key_hints import explain_override, find_setting

    key = option.lstrip("-")
    if "." not in key and find_setting(key) is None:
        return None
    following = dict(itertools.pairwise(arguments))
    value = following.get(option) or next((a.partition("=")[2] for a in arguments if a.startswith(f"{option}=")), "")
    return explain_override(f"{option}={value}")
