"""The commands `rl algorithms …`: which advantages and losses there are, and whether one keeps the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from rl.commands.arguments import Json

if TYPE_CHECKING:
    from rl.algorithms.contract import Finding
    from rl.algorithms.verl_source import Kind

algorithms = typer.Typer(help="List advantages and losses, ours and verl's; test one before a run learns from it.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from the list, file.py:fn or pkg.mod:fn.")]
As = Annotated[
    Literal["advantage", "policy_loss"] | None,
    typer.Option("--as", help="What NAME is, where its name and parameters leave that open."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A setting of the objective, such as clip_high=0.3; may be repeated."
    ),
]


@algorithms.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@algorithms.command("list")
def list_algorithms() -> None:
    """List algorithms, advantages and losses: ours, and verl's with what those need that cannot run here."""
    from rl.algorithms import presets
    from rl.algorithms.advantages import ADVANTAGES
    from rl.algorithms.policy_losses import POLICY_LOSSES
    from rl.config import ConfigError
    from rl.terminal import console, say, two_columns

    changes = {name: ", ".join(f"{key}: {value}" for key, value in p.items()) for name, p in presets.ALGORITHMS.items()}
    rows = [(name, text or "the defaults of an objective") for name, text in changes.items()]
    console().print(two_columns("algorithm", rows))
    ours = {"advantage": ADVANTAGES, "policy_loss": POLICY_LOSSES}
    for kind, registry in ours.items():
        console().print(two_columns(kind, [(name, _first_paragraph(function)) for name, function in registry.items()]))
    try:
        rows = _verl_rows()
    except ConfigError as error:
        return say(str(error))
    console().print(two_columns("of verl", rows))


def _verl_rows() -> list[tuple[str, str]]:
    from rl.algorithms import verl_source

    rows: list[tuple[str, str]] = []
    for kind, functions in verl_source.read_registries("verl").items():
        for name, function in functions.items():
            remark = verl_source.REMARKS.get(name, "")
            if name in verl_source.FIXED_MEANS:
                remark = f"with normalise: {verl_source.FIXED_MEANS[name]} only"
            can_run = f"cannot run: needs {function.lacks}" if function.lacks else f"runs{remark and f'; {remark}'}"
            rows.append((f"{kind}: {verl_source.PREFIX}{name}", can_run))
    return rows


@algorithms.command("test")
def try_algorithm(name: Name, kind: As = None, settings: Settings = None, as_json: Json = False) -> None:
    """Try an advantage or a loss on every clause of the contract, in about a second; exit with 1 if it breaks one."""
    from rl.algorithms import contract, verl_source
    from rl.algorithms.objective import Objective
    from rl.config import build, read_assignment
    from rl.terminal import console, print_json, two_columns

    changes = {
        key: read_assignment(value, "--set") for key, _, value in (text.partition("=") for text in settings or ())
    }
    kind, function = _find(name, kind)
    if mean := verl_source.FIXED_MEANS.get(name.removeprefix(verl_source.PREFIX)):
        changes.setdefault("normalise", mean)
    findings = contract.examine(kind, function, build(Objective, {kind: name, **changes}, "objective"))
    failures = [finding for finding in findings if finding.state == "FAILS"]
    if as_json:
        rows = [{"clause": f.clause, "state": f.state, "detail": f.detail} for f in findings]
        print_json({"name": name, "kind": kind, "clauses": rows})
    else:
        console().print(two_columns(f"{kind} {name}", [(f.clause, _line(f)) for f in findings]))
    raise typer.Exit(1 if failures else 0)


def _line(finding: Finding) -> str:
    return f"{finding.state}{finding.detail and f': {finding.detail}'}"


def _find(name: str, kind: Kind | None) -> tuple[Kind, Callable[..., Any]]:
    """Return what the function is and the function. Raises ConfigError."""
    from rl.algorithms import verl_source
    from rl.algorithms.advantages import ADVANTAGES, find_estimator
    from rl.algorithms.policy_losses import POLICY_LOSSES, find_loss
    from rl.config import ConfigError, did_you_mean

    if ":" in name:
        return _load(name, kind)
    names_by_kind: dict[Kind, set[str]] = {"advantage": set(ADVANTAGES), "policy_loss": set(POLICY_LOSSES)}
    if verl_source.is_verl(name):
        registries = verl_source.read_registries(name)
        names_by_kind = {
            k: {f"{verl_source.PREFIX}{short}" for short in functions} for k, functions in registries.items()
        }
    kinds = [k for k, names in names_by_kind.items() if name in names and kind in (None, k)]
    if not kinds:
        raise ConfigError(f"'{name}' is no advantage or loss{did_you_mean(name, set().union(*names_by_kind.values()))}")
    if len(kinds) > 1:
        raise ConfigError(f"'{name}' is an advantage and a loss; say which with --as advantage or --as policy_loss")
    return kinds[0], find_estimator(name) if kinds[0] == "advantage" else find_loss(name)


def _load(name: str, kind: Kind | None) -> tuple[Kind, Callable[..., Any]]:
    """Import the user's function and tell by its parameters what it is. Raises ConfigError."""
    from rl.config import ConfigError
    from rl.data import user_functions

    function = cast("Callable[..., Any]", user_functions.load(name, name))
    if kind:
        return kind, function
    parameters = inspect.signature(function).parameters.values()
    positional = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(positional) not in (2, 3):
        names = ", ".join(p.name for p in positional)
        raise ConfigError(
            f"{name}: it takes ({names}); an advantage takes (batch, objective), a loss (logprobs, batch, objective)"
        )
    return "advantage" if len(positional) == 2 else "policy_loss", function


def _first_paragraph(function: Callable[..., object]) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
