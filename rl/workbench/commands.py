"""`rl verifiers …`: what a designer of rewards does before a run, and after one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rl.workbench.cases import Labelled

verifiers = typer.Typer(help="What can judge an answer: list, write, try, attack, replay.")

Verifier = Annotated[str, typer.Argument(metavar="VERIFIER", help="A name, file.py:fn or pkg.mod:fn.")]
Args = Annotated[list[str] | None, typer.Option("--arg", metavar="KEY=VALUE", help="An argument of the verifier.")]
Cases = Annotated[str | None, typer.Option("--cases", metavar="FILE", help="jsonl rows {pred, gold, equal}.")]
Deadline = Annotated[float, typer.Option("--deadline", min=0.01, metavar="S", help="Seconds for one case.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; one a core unless said otherwise.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@verifiers.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@verifiers.command("list")
def list_verifiers() -> None:
    """Name the verifiers that come with the library."""
    from rewards.resolve import list_verifiers
    from rl.terminal import console, two_columns

    own = ("file.py:fn", "Your own, or pkg.mod:fn; called as verify(prompt, rollout), it answers a Verdict.")
    console().print(two_columns("verifier", [*list_verifiers().items(), own]))


@verifiers.command()
def new(name: Annotated[str, typer.Argument(metavar="NAME", help="Of the module to write here.")]) -> None:
    """Write a verifier that runs, with cases to begin with."""
    from rl.terminal import say
    from rl.workbench.template import write

    module, cases = write(name, Path.cwd())
    spec = f"{module.name}:verify"
    say(f"wrote {module.name} and {cases.name}")
    say(f"try      rl verifiers test {spec} --cases {cases.name}")
    say(f"attack   rl verifiers attack {spec}")
    say(f"use      reward: {{parts: [{{verifier: {spec}}}]}}")


@verifiers.command("test")
def try_cases(
    verifier: Verifier,
    cases: Cases = None,
    cls: Annotated[list[str] | None, typer.Option(help="Cases of this class alone.")] = None,
    label: Annotated[str, typer.Option(help="Column with the label; rows without it use `equal`.")] = "equal",
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="The least score that counts as equal.")] = 1.0,
    args: Args = None,
    deadline: Deadline = 10.0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Try a verifier on labelled cases, its own GOLD without --cases: agreement, errors, speed; exit code 1 unless it
    agrees with all of them."""
    from rl.terminal import print_json
    from rl.workbench.show import show_trial
    from rl.workbench.trial import Bench

    chosen, given = _chosen(verifier, cases, label, threshold, cls or ()), _arguments(args or ())
    with Bench(verifier, Path.cwd(), given, [case.args for case in chosen], deadline, workers) as bench:
        trial = bench.try_on(chosen)
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
    """Try known reward hacks on a verifier, over its own GOLD or over --cases; exit code 1 if any scores full."""
    from rl.terminal import print_json
    from rl.workbench.attacks import attempts
    from rl.workbench.show import attacks_as_json, show_attacks
    from rl.workbench.trial import Bench

    chosen, given = _chosen(verifier, cases), _arguments(args or ())
    tried = attempts(chosen)
    with Bench(verifier, Path.cwd(), given, [case.args for case in chosen], deadline, workers) as bench:
        verdicts = bench.judge([(attempt.rollout, attempt.case.args) for attempt in tried])
    found = attacks_as_json(tried, verdicts)
    if as_json:
        print_json(found)
    else:
        show_attacks(verifier, found)
    if found["full"]:
        raise typer.Exit(1)


@verifiers.command("replay")
def replay_run(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    reward: Annotated[str, typer.Option("--with", metavar="REWARD", help="A verifier, a reward's YAML or a recipe.")],
    stage: Annotated[str | None, typer.Option(help="Samples of this stage alone.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The last so many steps of each stage.")] = None,
    most: Annotated[int, typer.Option(min=0, help="Samples to show, those that change most.")] = 10,
    as_json: Json = False,
) -> None:
    """Judge a finished run's samples with another reward: what would have been different."""
    from rl.terminal import complain, print_json
    from rl.workbench.replay import replay, reward_of
    from rl.workbench.show import replay_as_json, show_replay

    config, folder = reward_of(reward)
    replayed = replay(run_dir, config, folder, stage, steps, complain)
    if as_json:
        return print_json(replay_as_json(replayed, most))
    show_replay(replayed, most)


def _chosen(
    verifier: str, cases: str | None, label: str = "equal", threshold: float = 1.0, classes: Sequence[str] = ()
) -> list[Labelled]:
    from rl.workbench.cases import of_gold, read
    from rl.workbench.trial import gold_of

    if cases is None:
        return of_gold(gold_of(verifier, Path.cwd()))
    return read(cases, label, threshold, classes)


def _arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs as YAML reads them. Raises ConfigError."""
    from omegaconf import OmegaConf

    from rl.config import ConfigError, resolve

    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ConfigError(f"--arg: '{pair}' is not key=value, for example --arg normalise=false")
    return resolve(OmegaConf.from_dotlist(list(pairs)), "--arg")
