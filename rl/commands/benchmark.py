"""`rl benchmark`: any model on a public set that the user has downloaded, by the set's own rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.commands.arguments import Json, Overrides

if TYPE_CHECKING:
    from rl.recipe import Recipe

SetName = Annotated[str | None, typer.Argument(metavar="SET", help="A set of `rl benchmark --list`.")]
Model = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A model's folder, a run's directory, or a name on the hub.")
]
Folder = Annotated[
    str | None, typer.Option("--data", metavar="FOLDER", help="Your download (default: $GROUNDTONE_DATA/SET).")
]


def benchmark(
    set_name: SetName = None,
    model: Model = None,
    overrides: Overrides = None,
    listing: Annotated[bool, typer.Option("--list", help="Show every set: licence, source, rule.")] = False,
    data: Folder = None,
    prompt: Annotated[
        str | None, typer.Option(help="r1 (as Step-Audio-R1 asks, the default where it does) or official.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(help="Which accuracy is the stage's: official or strict; both are shown.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of each item.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only so many items, from the first.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="URL|MODEL", help="A judge behind an address, or a model for the run to serve."),
    ] = None,
    judge_model: Annotated[str, typer.Option(metavar="NAME", help="The judge's name at its address.")] = "",
    judge_key: Annotated[
        str | None, typer.Option("--judge-key-env", metavar="VARIABLE", help="The variable that holds the judge's key.")
    ] = None,
    max_sequence_tokens: Annotated[
        int | None, typer.Option(min=2, help="Tokens of the longest prompt and response together.")
    ] = None,
    think: Annotated[
        bool | None, typer.Option(help="Open every answer with <think> (default: as the chat template says).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's directory; runs/benchmark-SET unless said otherwise.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a model on a public set: MMAU, MMAR, MMSU, Big Bench Audio, GSM8K, … by the set's own rules."""
    from rl.config import ConfigError
    from rl.recipe.benchmark_recipe import JudgeChoice, benchmark_recipe
    from rl.report.benchmark_results import list_sets, render_sets
    from rl.runner.run_dir import RUNS, free_folder
    from rl.terminal import console, print_json

    if listing:
        return print_json(list_sets()) if as_json else console().print(render_sets())
    if set_name is None or model is None:
        raise ConfigError("rl benchmark: name a set and a model; `rl benchmark --list` shows the sets")
    choice = JudgeChoice(judge, judge_model, judge_key) if judge else None
    recipe = benchmark_recipe(
        set_name, model, data, prompt, rule, samples, limit, max_sequence_tokens, choice, think, overrides or ()
    )
    _measure(recipe, out or free_folder(RUNS / recipe.name), as_json)


def _measure(recipe: Recipe, folder: Path, as_json: bool) -> None:
    """Run the recipe of one evaluation and print what it measured."""
    from dataclasses import asdict

    from rl import runner
    from rl.report.benchmark_results import read_run_results, render_run
    from rl.runner.devices import plan_run
    from rl.terminal import complain, console, print_json, refuse, reserve_stdout, say

    recipe, run_plan = plan_run(recipe, folder)
    refuse(run_plan.problems)
    with reserve_stdout(as_json):
        summary = runner.run(recipe, folder, say=complain if as_json else say)
    if as_json:
        results = [asdict(result) for result in read_run_results(folder)]
        return print_json({"run": str(folder), "metrics": dict(summary.stages[-1].metrics), "results": results})
    console().print(render_run(folder))
    say(f"samples with their verdicts: some in {folder / 'report.html'}, all in {folder / 'rollouts'}")
