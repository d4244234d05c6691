"""The command `rl`. Every command imports what it needs inside its function, so that `rl --help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rl import signals
from rl.commands import benchmark, chat, init, jobs, listings, push, runs, serve, single_stage, transcribe
from rl.commands.algorithms import algorithms
from rl.commands.arguments import Json, Overrides, RecipeName, as_override
from rl.commands.environments import environments
from rl.commands.export import exports
from rl.commands.serve_rollouts import serve_rollouts
from rl.workbench.commands import verifiers

USAGE: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's UsageError, a command line that cannot be read: this version of typer carries click inside."""
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
"""Settings that keep libraries from writing to the terminal; a variable that the user has set is left alone."""

HELP = "RL post-training for models that read and listen: SFT, distillation, RL, DPO, reward models, evaluation; one recipe."
HELP_FLAGS = {"help_option_names": ["-h", "--help"]}  # commands inherit them from the app
app = typer.Typer(pretty_exceptions_enable=False, help=HELP, context_settings=HELP_FLAGS)
data = typer.Typer(help="Where prompts can come from.")
app.add_typer(verifiers, name="verifiers")
app.add_typer(data, name="data")
app.add_typer(algorithms, name="algorithms")
app.add_typer(environments, name="environments")
app.add_typer(exports, name="export")
app.add_typer(jobs.jobs_app, name="jobs")

Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run: that in --out, or else the newest.")]


def _print_version(version_flag: bool) -> None:
    if version_flag:
        from importlib.metadata import version

        print(f"groundtone {version('groundtone')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a user's mistake too.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Print the help where no command is named. `main` has taken --debug out before, so that it may stand anywhere."""
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
    replay: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Repeat this run of the recipe, with its course under `max_lag`.")
    ] = None,
) -> None:
    """Run the stages of a recipe, one after the other."""
    from rl import runner
    from rl.config import ConfigError
    from rl.planning.table import render_plan
    from rl.recipe import load
    from rl.report.evaluations import render_results, render_seeds
    from rl.run.summary import mark_interrupted
    from rl.runner.devices import plan_run
    from rl.runner.next_commands import read_command, suggest_next_steps
    from rl.runner.run_dir import RUNS, check_resumable, free_folder, newest_run, replay_overrides
    from rl.terminal import console, refuse, say

    changes = list(overrides or ())
    first = load(recipe, changes)
    if replay is not None:
        if resume or seeds > 1:
            flag = "--resume" if resume else "--seeds"
            raise ConfigError(f"--replay: repeats one run from its beginning; leave out {flag}")
        changes += replay_overrides(first, replay)
        first = load(recipe, changes)
    if out and resume:
        check_resumable(out, seeds > 1)
    folder = out or (newest_run(first.name, seeds > 1) if resume else free_folder(RUNS / first.name))
    numbers = range(first.header.seed, first.header.seed + seeds)
    folders = {seed: folder / f"seed-{seed}" if seeds > 1 else folder for seed in numbers}
    for path in folders.values():
        if not resume and os.path.exists(path / "recipe.yaml"):
            raise ConfigError(f"{path}: holds a run already; go on with --resume or choose another --out")
    first, recipe_plan = plan_run(first, folder)
    refuse(recipe_plan.problems)
    console().print(render_plan(recipe_plan, brief=True))
    command = read_command(recipe, changes, folder, seeds)
    again = f"interrupted; go on with: {command.line(resume=True)}"
    with signals.interruptible(again, lambda: [mark_interrupted(path) for path in folders.values()]):
        for seed, path in folders.items():
            say(f"{path}")
            runner.run(
                load(recipe, [*changes, f"seed={seed}"]) if seeds > 1 else first,
                path,
                resume and (path / "recipe.yaml").exists(),
                say,
            )
            console().print(render_results(path))
    if seeds > 1:
        console().print(render_seeds(folders))
    for line in suggest_next_steps(command, first):
        say(line)


@app.command()
def check(
    recipe: RecipeName,
    overrides: Overrides = None,
    on: Annotated[
        str | None, typer.Option(metavar="GPUSxGB", help="Plan for such GPUs: 1x80, 8x80, 64x80 (8 on each node).")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the formula of every number of memory and time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a recipe will do, what it needs and what is missing, without starting anything."""
    from rl.planning import table
    from rl.planning.expected import expect_overrides
    from rl.planning.plan import plan
    from rl.recipe import load
    from rl.terminal import console, print_json, refuse

    recipe_plan = plan(load(recipe, [*(overrides or ()), *(expect_overrides(on) if on else ())]))
    if as_json:
        print_json(table.as_json(recipe_plan))
    else:
        console().print(table.render_plan(recipe_plan, explain=explain))
    refuse(recipe_plan.problems)


app.command("init")(init.init)
app.command("show")(runs.show)
app.command("compare")(runs.compare)
app.command("chat")(chat.chat)
app.command("push")(push.push)
app.command("eval")(single_stage.evaluate)
app.command("curate")(single_stage.curate)
app.command("benchmark")(benchmark.benchmark)
app.command("serve")(serve.serve)
app.command("talk")(serve.talk)
app.command("serve-rollouts")(serve_rollouts)


app.command("submit")(jobs.submit)
app.command("slurm")(jobs.slurm)
app.command("recipes")(listings.list_recipes)
app.command("pretrained")(listings.write_pretrained)
data.command("list")(listings.list_data)
data.command("transcribe")(transcribe.transcribe)


def main() -> None:
    """The entry point. Exit codes: 0 done, 1 a bug (with its traceback) or a failed job, 2 a user's mistake or a failure
    that has a name (one line), 130 Ctrl-C, 143 SIGTERM."""
    signals.install_handlers()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not Path("/proc/driver/nvidia").exists():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed would say on import that it found no GPU
    try:
        code = _exit_code(arguments, debug)
    except KeyboardInterrupt:  # while something was imported
        code = signals.say_interrupted()
    if signals.is_ending():
        signals.kill_and_exit(code)
    sys.exit(code)


def _exit_code(arguments: list[str], debug: bool) -> int:
    from rl.run.files import DiskFull
    from rl.terminal import Interruption, complain, print_traceback

    sys.excepthook = print_traceback
    if not _is_here():
        complain("error: the working directory is gone; change to another one")
        return 2
    try:
        code = app(arguments, prog_name="rl", standalone_mode=False) or 0
    except Interruption as interrupted:
        return signals.say_interrupted(str(interrupted))
    except USAGE as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "rl")
        fix = as_override(getattr(error, "option_name", ""), arguments) or f"see {command} --help"
        complain(f"error: {error.format_message().rstrip('.')}; {fix}")  # type: ignore[attr-defined]
        return 2
    except (ValueError, DiskFull) as error:
        if debug:
            print_traceback(type(error), error, error.__traceback__)
        else:
            signals.claim_last_line()
            complain(f"error: {error}")
        return 2
    return signals.say_interrupted() if code == 130 else code  # typer's answer to KeyboardInterrupt


def _is_here() -> bool:
    """Return whether the working directory exists: another process may have removed it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
