"""`rl eval` and `rl curate`: one stage on any model and any file, without a recipe."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.commands.arguments import FromRecipe, Json, Overrides

if TYPE_CHECKING:
    from rl.recipe import Recipe

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model's folder, a run's directory, or a name on the hub.")
]
DataFile = Annotated[str | None, typer.Option("--data", metavar="FILE", help="Prompts: jsonl, json, csv or parquet.")]
Fields = Annotated[str, typer.Option(help="Which column holds what, such as question=problem,answer=gold.")]
Split = Annotated[str | None, typer.Option(help="Read only this split.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Read only so many prompts, from the first.")]
Samples = Annotated[int | None, typer.Option(min=1, help="Samples per prompt (default: 8).")]
VerifierName = Annotated[str | None, typer.Option(help="A verifier: a name, file.py:fn or pkg.mod:fn (default: math).")]
MaxTokens = Annotated[int | None, typer.Option(min=2, help="Tokens of the longest prompt and response together.")]
Think = Annotated[
    bool | None, typer.Option(help="Open every answer with <think> (default: as the recipe or the chat template says).")
]


def evaluate(
    model: Model,
    overrides: Overrides = None,
    data_file: DataFile = None,
    split: Split = None,
    limit: Limit = None,
    samples: Samples = None,
    verifier: VerifierName = None,
    fields: Fields = "",
    max_sequence_tokens: MaxTokens = None,
    recipe: FromRecipe = None,
    think: Think = None,
    as_json: Json = False,
) -> None:
    """Measure a model on a file of questions: accuracy with intervals, pass@k, lengths."""
    from rl.recipe.single_stage import single_stage
    from rl.report.run_data import Stage, list_metrics
    from rl.report.tables import format_interval
    from rl.terminal import complain, console, print_json, reserve_stdout, two_columns

    settings = {"split": split, "limit": limit, "samples": samples, "max_sequence_tokens": max_sequence_tokens}
    plan = single_stage("evaluate", model, data_file, settings, fields, verifier, recipe, think, overrides or ())
    with reserve_stdout(as_json):
        metrics = _run_once(plan, complain)
    if as_json:
        return print_json(metrics)
    stage = Stage("eval", "evaluate", True, None, metrics, (), None)
    rows = [(name, format_interval(stage.interval(name))) for name in list_metrics([stage])]
    console().print(two_columns(str(plan.header.model.path), rows))


def curate(
    model: Model,
    out: Annotated[Path, typer.Option(help="The difficulty file (parquet) to write.")],
    overrides: Overrides = None,
    data_file: DataFile = None,
    keep: Annotated[tuple[int, int], typer.Option(help="Fewest and most right answers of a prompt to keep.")] = (3, 6),
    samples: Samples = None,
    split: Split = None,
    limit: Limit = None,
    verifier: VerifierName = None,
    fields: Fields = "",
    max_sequence_tokens: MaxTokens = None,
    recipe: FromRecipe = None,
    think: Think = None,
) -> None:
    """Find the prompts that are neither too easy nor too hard for a model; `difficulty: FILE` in a recipe uses them."""
    from rl.recipe.single_stage import single_stage
    from rl.terminal import say

    settings = {"split": split, "limit": limit, "samples": samples, "max_sequence_tokens": max_sequence_tokens}
    # The run's own directory is gone afterwards: `reuse` has the stage write its difficulty file to `out` too, and read
    # what is there already in place of sampling again.
    settings |= {"keep": list(keep), "reuse": str(out)}
    plan = single_stage("curate", model, data_file, settings, fields, verifier, recipe, think, overrides or ())
    _run_once(plan, say)
    say(f"wrote {out}")


def _run_once(recipe: Recipe, say: Callable[[str], None]) -> dict[str, float]:
    """Run a recipe of one stage in a temporary directory and return the stage's metrics."""
    from rl import runner

    with tempfile.TemporaryDirectory(prefix="groundtone-") as folder:
        return dict(runner.run(recipe, Path(folder) / "run", say=say).stages[-1].metrics)
