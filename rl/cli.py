"""The command `rl`. Every command imports what it needs when it runs, so that `rl --help` answers at once."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.workbench.commands import verifiers

if TYPE_CHECKING:
    from rl.recipe import Recipe

USAGE: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's UsageError, wherever this version of typer keeps it: a command line that cannot be read."""
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Libraries that write to the terminal of whoever imports them; what the user has set stays."""

HELP = "RL post-training for models that read and listen: SFT, distillation, RL, DPO, reward models, evaluation; one recipe."
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=HELP)
data = typer.Typer(help="Where prompts can come from.")
app.add_typer(verifiers, name="verifiers")
app.add_typer(data, name="data")

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a bundled recipe.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes, such as rlvr.steps=20.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run; without --out the newest.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model's folder, a run, or a name of the hub.")]
DataFile = Annotated[str | None, typer.Option("--data", metavar="FILE", help="Prompts: jsonl or parquet.")]
Fields = Annotated[str, typer.Option(help="Which columns hold what: question=problem,answer=gold.")]
Split = Annotated[str | None, typer.Option(help="Rows of this split alone.")]
Limit = Annotated[int | None, typer.Option(min=1, help="The first so many prompts.")]
Samples = Annotated[int | None, typer.Option(min=1, help="Samples of each prompt; 8 unless said otherwise.")]
VerifierName = Annotated[str | None, typer.Option(help="A name, file.py:fn or pkg.mod:fn; math unless said otherwise.")]
Longest = Annotated[int | None, typer.Option(min=2, help="Prompt and response together.")]
FromRecipe = Annotated[str | None, typer.Option("--recipe", help="Take data, reward and engines from this recipe.")]
Think = Annotated[bool, typer.Option(help="Open every answer with <think>.")]


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a user's mistake too.")] = False,
) -> None:
    """`main` takes --debug out of the command line before it comes here, so that it may stand anywhere."""
    _help(context)


@data.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The run's directory; runs/NAME unless said otherwise.")] = None,
    resume: Resume = False,
    seeds: Annotated[int, typer.Option(min=1, help="Run with so many seeds and show the spread.")] = 1,
) -> None:
    """Run the stages of a recipe, one after the other."""
    from rl import runner
    from rl.config import ConfigError
    from rl.planning.plan import plan
    from rl.planning.table import render_plan
    from rl.recipe import load
    from rl.report.evaluations import render_results, render_seeds, suggest_next_steps
    from rl.runner.run_dir import RUNS, free_folder, newest_run
    from rl.terminal import Interruption, console, refuse, say

    changes = list(overrides or ())
    first = load(recipe, changes)
    folder = out or (newest_run(first.name, seeds > 1) if resume else free_folder(RUNS / first.name))
    numbers = range(first.header.seed, first.header.seed + seeds)
    folders = {seed: folder / f"seed-{seed}" for seed in numbers} if seeds > 1 else {first.header.seed: folder}
    for path in folders.values():
        if not resume and (path / "recipe.yaml").exists():
            raise ConfigError(f"{path}: holds a run already; go on with --resume or choose another --out")
    made = plan(first, folder)
    refuse(made.problems)
    console().print(render_plan(made, brief=True))
    try:
        for seed, path in folders.items():
            say(f"{path}")
            runner.run(load(recipe, [*changes, f"seed={seed}"]) if seeds > 1 else first, path, resume, say)
            console().print(render_results(path))
    except KeyboardInterrupt:
        more = f" --seeds {seeds}" if seeds > 1 else ""
        command = " ".join(["rl run", recipe, *changes])
        raise Interruption(f"interrupted; go on with: {command} --resume --out {folder}{more}") from None
    if seeds > 1:
        console().print(render_seeds(folders))
    for line in suggest_next_steps(recipe, first, next(iter(folders.values())), free_folder(folder, again=True)):
        say(line)


@app.command()
def check(recipe: RecipeName, overrides: Overrides = None, as_json: Json = False) -> None:
    """Show what a recipe will do, what it needs and what is missing; start nothing."""
    from rl.planning import table
    from rl.planning.plan import plan
    from rl.recipe import load
    from rl.terminal import console, print_json, refuse

    made = plan(load(recipe, overrides or ()))
    if as_json:
        print_json(table.as_json(made))
    else:
        console().print(table.render_plan(made))
    refuse(made.problems)


@app.command()
def show(run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")]) -> None:
    """Show one run: its stages, how far it came, what it left."""
    from rl.report import tables
    from rl.terminal import console

    console().print(tables.show(run_dir))


@app.command()
def compare(run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Two or more runs.")]) -> None:
    """Show runs side by side with intervals, paired where their prompts are the same."""
    from rl.config import ConfigError
    from rl.report import tables
    from rl.terminal import console

    if len(run_dirs) < 2:
        raise ConfigError(
            f"rl compare: one run, nothing to compare it with; name another, or use rl show {run_dirs[0]}"
        )
    console().print(tables.compare(run_dirs))


@app.command("eval")
def evaluate(
    model: Model,
    overrides: Overrides = None,
    data_file: DataFile = None,
    split: Split = None,
    limit: Limit = None,
    samples: Samples = None,
    verifier: VerifierName = None,
    fields: Fields = "",
    max_sequence_tokens: Longest = None,
    recipe: FromRecipe = None,
    think: Think = True,
    as_json: Json = False,
) -> None:
    """Measure how good a model is on a file: accuracies with intervals, pass@k, lengths."""
    from rl.recipe.single_stage import single_stage
    from rl.report.run_data import Stage, list_metrics
    from rl.report.tables import format_interval
    from rl.terminal import complain, console, print_json, reserve_stdout, two_columns

    settings = {"split": split, "limit": limit, "samples": samples, "max_sequence_tokens": max_sequence_tokens}
    made = single_stage("evaluate", model, data_file, settings, fields, verifier, recipe, think, overrides or ())
    with reserve_stdout(as_json):
        metrics = _once(made, complain)
    if as_json:
        return print_json(metrics)
    stage = Stage("eval", "evaluate", True, None, metrics, (), None)
    rows = [(name, format_interval(stage.interval(name))) for name in list_metrics([stage])]
    console().print(two_columns(str(made.header.model.path), rows))


@app.command()
def curate(
    model: Model,
    out: Annotated[Path, typer.Option(help="The difficulty file (parquet) to write.")],
    overrides: Overrides = None,
    data_file: DataFile = None,
    keep: Annotated[tuple[int, int], typer.Option(help="Fewest and most right answers.")] = (3, 6),
    samples: Samples = None,
    split: Split = None,
    limit: Limit = None,
    verifier: VerifierName = None,
    fields: Fields = "",
    max_sequence_tokens: Longest = None,
    recipe: FromRecipe = None,
    think: Think = True,
) -> None:
    """Find the prompts that are neither too easy nor too hard for a model; a recipe's `difficulty:` reads the file."""
    from rl.recipe.single_stage import single_stage
    from rl.terminal import say

    settings = {"split": split, "limit": limit, "samples": samples, "max_sequence_tokens": max_sequence_tokens}
    settings |= {"keep": list(keep), "reuse": str(out)}
    _once(single_stage("curate", model, data_file, settings, fields, verifier, recipe, think, overrides or ()), say)
    say(f"wrote {out}")


@app.command()
def submit(
    recipe: RecipeName,
    address: Annotated[str, typer.Option(help="The cluster's dashboard, http://HEAD:8265.")],
    overrides: Overrides = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show its output and exit as the job does.")] = False,
    out: Annotated[str | None, typer.Option(help="The run's directory, on storage that its machines share.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Hand a recipe to a running Ray cluster as a job, with the files it names."""
    from rl import submit as jobs
    from rl.recipe import load
    from rl.terminal import Interruption, complain, say

    job, folder = jobs.submit(load(recipe, overrides or ()), address, out, resume, complain)
    say(f"job {job}, its run in {folder} on the cluster")
    if not follow:
        return say(f"follow it with: ray job logs {job} --address {address} --follow")
    try:
        succeeded = jobs.follow(address, job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        raise Interruption(f"the job goes on; stop it with: ray job stop {job} --address {address}") from None
    say(f"job {job} {'succeeded' if succeeded else 'failed'}")
    raise typer.Exit(0 if succeeded else 1)


@data.command("list")
def list_data() -> None:
    """Name the kinds of data and the built-in tasks."""
    from rl.data.tasks import TASKS, summary
    from rl.terminal import console, two_columns

    files = [
        ("jsonl", "A file of one JSON object a line."),
        ("parquet", "A parquet file."),
        ("huggingface", "A data set by its name on the hub, or its folder."),
        ("folder", "Audio files in class folders, or with names that a pattern reads."),
    ]
    own = ("file.py:fn", "Your own, or pkg.mod:fn; called with the split, it gives rl.types.Prompt after Prompt.")
    console().print(two_columns("source", [*files, *((name, summary(task)) for name, task in TASKS.items()), own]))


def _once(recipe: Recipe, say: Callable[[str], None]) -> dict[str, float]:
    """The metrics of a recipe of one stage, run where nothing stays."""
    from rl import runner

    with tempfile.TemporaryDirectory(prefix="groundtone-") as folder:
        return dict(runner.run(recipe, Path(folder) / "run", say=say).stages[-1].metrics)


def main() -> None:
    """The entry point. Exit codes: 0 done, 1 a bug (with its traceback) or a failed job, 2 a user's mistake (one line),
    130 Ctrl-C."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not Path("/proc/driver/nvidia").exists():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed would say on import that it found no GPU
    sys.exit(_exit_code(arguments, debug))


def _exit_code(arguments: list[str], debug: bool) -> int:
    from rl.run.files import DiskFull
    from rl.terminal import Interruption, complain

    try:
        code = app(arguments, prog_name="rl", standalone_mode=False) or 0
    except Interruption as interruption:
        complain(str(interruption))
        return 130
    except USAGE as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "rl")
        complain(f"error: {error.format_message().rstrip('.')}; see {command} --help")  # type: ignore[attr-defined]
        return 2
    except (ValueError, DiskFull) as error:
        if debug:
            traceback.print_exc()
        else:
            complain(f"error: {error}")
        return 2
    if code == 130:  # typer's answer to Ctrl-C
        complain("interrupted")
    return code


if __name__ == "__main__":
    main()
