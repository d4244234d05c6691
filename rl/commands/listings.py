"""`rl recipes` and `rl data list`: what there is to begin with."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rl import bundled
from rl.commands.arguments import complete_recipe

BundledName = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Print this one's YAML.", autocompletion=complete_recipe)
]


def list_recipes(
    name: BundledName = None,
    path: Annotated[bool, typer.Option("--path", help="Print where NAME lies instead of what it says.")] = False,
    reference: Annotated[bool, typer.Option("--reference", help="Print every key that a recipe may hold.")] = False,
    names_elsewhere: Annotated[
        bool, typer.Option("--names-elsewhere", help="Print what keys of TRL, verl, OpenRLHF and ms-swift are here.")
    ] = False,
) -> None:
    """List the bundled recipes, or print one to read or to start from."""
    from rl.config import ConfigError, did_you_mean
    from rl.terminal import console, two_columns

    if reference:
        from rl.recipe.reference import render

        sys.stdout.write(render())
        return
    if names_elsewhere:
        from rl.recipe import other_libraries

        sys.stdout.write(other_libraries.render())
        return
    if name is None:
        return console().print(two_columns("recipe", [(recipe, bundled.summary(recipe)) for recipe in bundled.names()]))
    name = name.removesuffix(".yaml")
    if name not in bundled.names():
        raise ConfigError(f"rl recipes: no bundled recipe '{name}'{did_you_mean(name, bundled.names())}")
    # As it is: `rl recipes quickstart > mine.yaml` starts a recipe of the user's.
    sys.stdout.write(f"{bundled.path_of(name)}\n" if path else bundled.path_of(name).read_text())


def list_data() -> None:
    """List the kinds of data and the built-in tasks."""
    from rl.data.tasks import TASKS, summary
    from rl.terminal import console, two_columns

    files = [
        ("jsonl", "A file with a JSON object on each line."),
        ("json", "A file that is one list of JSON objects."),
        ("csv", "A file of cells with a header, separated by commas, semicolons or tabs."),
        ("parquet", "A parquet file."),
        ("huggingface", "A data set by its name on the hub, or its folder."),
        ("folder", "Audio files in class folders, or with names that a pattern reads."),
    ]
    user_task = ("file.py:fn", "Your own, or pkg.mod:fn; called with the split, it yields rl.types.Prompt objects.")
    tasks = [(name, summary(task)) for name, task in TASKS.items()]
    console().print(two_columns("source", [*files, *tasks, user_task]))


def write_pretrained(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="A model; all of them unless named.")
    ] = None,
) -> None:
    """Download small pretrained models, which recipes use by their names: smollm2-135m-instruct-q4, whisper-tiny.en."""
    from models.pretrained.write import write_models
    from rl.terminal import say

    write_models(names or [], say)
