"""The commands `rl verifiers …`, for designing a reward before a run and trying another after one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rl.workbench.cases import LabelledCase

verifiers = typer.Typer(help="List, write, test and attack verifiers; replay a run with another reward.")

Verifier = Annotated[
    str, typer.Argument(metavar="VERIFIER", help="Name of a library verifier, file.py:fn or pkg.mod:fn.")
]
Args = Annotated[
    list[str] | None, typer.Option("--arg", metavar="KEY=VALUE", help="An argument of the verifier; may be repeated.")
]
Cases = Annotated[
    str | None, typer.Option("--cases", metavar="FILE", help="A jsonl file with rows {pred, gold, equal}.")
]
Deadline = Annotated[
    float,
    typer.Option("--deadline", min=0.01, metavar="S", help="CPU seconds for one case; six times as many to wait."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Number of processes; one per core by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@verifiers.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@verifiers.command("list")
def list_verifiers() -> None:
    """List the verifiers that come with the library."""
    # Imports stand inside the commands: `rl --help` must not wait for the verifiers' libraries.
    from rewards import resolve
    from rl.terminal import console, two_columns

    user_row = ("file.py:fn", "Your own, or pkg.mod:fn: a function verify(prompt, rollout) that returns a Verdict.")
    console().print(two_columns("verifier", [*resolve.list_verifiers().items(), user_row]))


@verifiers.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the module to write in this folder.")],
) -> None:
    """Write a new verifier that runs, with cases to begin with."""
    from rl.terminal import say, shell_command
    from rl.workbench.template import write_template

    module, cases = write_template(name, Path.cwd())
    spec = f"{module.name}:verify"
    say(f"wrote {module.name} and {cases.name}")
    say(f"try      {shell_command('rl', 'verifiers', 'test', spec, '--cases', cases.name)}")
    say(f"attack   {shell_command('rl', 'verifiers', 'attack', spec)}")
    say(f"use      reward: {{parts: [{{verifier: {spec}}}]}}")


@verifiers.command("test")
def try_cases(
    verifier: Verifier,
    cases: Cases = None,
    cls: Annotated[list[str] | None, typer.Option(help="Only cases of this class; may be repeated.")] = None,
    label: Annotated[str, typer.Option(help="Column that holds the label; rows without it use `equal`.")] = "equal",
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="Lowest score that counts as equal.")] = 1.0,
    args: Args = None,
    deadline: Deadline = 10.0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Test a verifier on labelled cases, by default its own GOLD: agreement, errors, speed. The exit code is 1 unless it
    agrees with all of them."""
    from rl.terminal import print_json
    from rl.workbench.show import show_trial
    from rl.workbench.trial import Workbench

    labelled_cases = _load_cases(verifier, cases, label, threshold, cls or ())
    variants = [case.args for case in labelled_cases]
    with Workbench(verifier, Path.cwd(), _parse_args(args or ()), variants, deadline, workers) as workbench:
        trial = workbench.judge_cases(labelled_cases)
    if as_json:
        print_json(trial.as_json())
    else:
        show_trial(trial)
    if trial.disagreements:
        raise typer.Exit(1)


@verifiers.command()
def attack(
    verifier: Verifier,
    cases: Cases = None,
    args: Args = None,
    deadline: Deadline = 10.0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Try known reward hacks on a verifier, with its own GOLD or with --cases. The exit code is 1 if any scores full."""
    from rl.terminal import print_json
    from rl.workbench.attacks import list_attempts
    from rl.workbench.show import attacks_as_json, show_attacks
    from rl.workbench.trial import Workbench

    labelled_cases = _load_cases(verifier, cases)
    attempts = list_attempts(labelled_cases)
    variants = [case.args for case in labelled_cases]
    with Workbench(verifier, Path.cwd(), _parse_args(args or ()), variants, deadline, workers) as workbench:
        verdicts = workbench.judge([(attempt.rollout, attempt.case.args) for attempt in attempts])
    report = attacks_as_json(attempts, verdicts)
    if as_json:
        print_json(report)
    else:
        show_attacks(verifier, report)
    if report["full"]:
        raise typer.Exit(1)


@verifiers.command("replay")
def replay_run(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    reward: Annotated[
        str, typer.Option("--with", metavar="REWARD", help="A verifier, or a YAML file: a reward or a recipe.")
    ],
    stage: Annotated[str | None, typer.Option(help="Only samples of this stage.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Only the last steps of each stage: how many.")] = None,
    limit: Annotated[
        int, typer.Option("--most", min=0, help="Number of samples to show, those that change most.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Judge a finished run's samples with another reward and compare the scores."""
    from rl.terminal import complain, print_json
    from rl.workbench.replay import load_reward, replay
    from rl.workbench.show import replay_as_json, show_replay

    config, folder = load_reward(reward)
    samples = replay(run_dir, config, folder, stage, steps, complain)
    report = replay_as_json(samples, limit)
    if as_json:
        print_json(report)
    else:
        show_replay(report)


def _load_cases(
    verifier: str, cases: str | None, label: str = "equal", threshold: float = 1.0, classes: Sequence[str] = ()
) -> list[LabelledCase]:
    """Return the cases of the file, or the verifier's GOLD where none is named. Raises ConfigError."""
    from rl.terminal import reserve_stdout
    from rl.workbench.cases import from_gold, read_cases
    from rl.workbench.trial import load_gold

    if cases is None:
        with reserve_stdout(True), redirect_stdout(sys.stderr):  # the module is imported here too, and may print
            return from_gold(load_gold(verifier, Path.cwd()))
    return read_cases(cases, label, threshold, classes)


def _parse_args(pairs: Sequence[str]) -> dict[str, object]:
    """Return `key=value` pairs as a mapping, their values read as YAML. Raises ConfigError."""
    from omegaconf import OmegaConf

    from rl.config import ConfigError, read_assignment, resolve

    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ConfigError(f"--arg: '{pair}' is not key=value, for example --arg normalise=false")
        read_assignment(pair.partition("=")[2], f"--arg {pair}")  # refuses what YAML would read as something else
    return resolve(OmegaConf.from_dotlist(list(pairs)), "--arg")
