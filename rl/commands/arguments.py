"""Arguments and options that several commands share."""

from __future__ import annotations

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
