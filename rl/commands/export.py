"""`rl export verl|trl`: a recipe's data, after its curation, and its reward, for another trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.commands.arguments import Overrides, RecipeName

if TYPE_CHECKING:
    from rl.exchange.selection import Selection

exports = typer.Typer(help="Train elsewhere: a recipe's curated data and its reward for verl or TRL.")

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")]
Run = Annotated[
    Path | None, typer.Option("--run", metavar="RUN", help="A run of the recipe: take its curation, data and models.")
]
StageName = Annotated[
    str | None, typer.Option("--stage", metavar="NAME", help="The rlvr stage (default: the recipe's first).")
]


@exports.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@exports.command("verl")
def to_verl(
    recipe: RecipeName, out: Out, overrides: Overrides = None, run_dir: Run = None, stage: StageName = None
) -> None:
    """Write parquet files, reward.py and run.sh for verl; every override is checked against its configuration."""
    from rl.exchange.verl_export import export
    from rl.terminal import say, shell_command

    _export(export, recipe, out, overrides, run_dir, stage)
    say(f"train with: {shell_command('bash', out / 'run.sh')}")


@exports.command("trl")
def to_trl(
    recipe: RecipeName, out: Out, overrides: Overrides = None, run_dir: Run = None, stage: StageName = None
) -> None:
    """Write jsonl files, reward.py and train.py for TRL's GRPOTrainer."""
    from rl.exchange.trl_export import export
    from rl.terminal import say, shell_command

    _export(export, recipe, out, overrides, run_dir, stage)
    say(f"train with: {shell_command('python', out / 'train.py')}")


def _export(
    export: Callable[[Selection, Path, Callable[[str], None]], None],
    recipe: str,
    out: Path,
    overrides: list[str] | None,
    run_dir: Path | None,
    stage: str | None,
) -> None:
    from rl.exchange.selection import select
    from rl.recipe import load
    from rl.terminal import say
    from rl.units import many

    selection = select(load(recipe, overrides or ()), stage, run_dir, say)
    export(selection, out, say)
    say(f"wrote {out}: {many(len(selection.train), 'prompt')} to train on, {len(selection.test)} to measure on")
