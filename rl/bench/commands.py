"""`rl verifiers …`: what a designer of rewards does before a run, and after one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rl.bench.trial import Trial

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
    from rewards.resolve import known
    from rl.terminal import console, two_columns

    own = ("file.py:fn", "Your own, or pkg.mod:fn; called as verify(prompt, rollout), it answers a Verdict.")
    console().print(two_columns("verifier", [*known().items(), own]))


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
    """Try a verifier on labelled cases, its own GOLD without --cases: agreement, errors, speed."""
    from rl.bench import cases as labelled
    from rl.bench.trial import Bench, gold_of
    from rl.terminal import print_json

    chosen = labelled.read(cases, label, threshold, cls or ()) if cases is not None else None
    given = _arguments(args or ())
    if chosen is None:
        chosen = labelled.of_gold(gold_of(verifier))
    with Bench(verifier, Path.cwd(), given, [case.args for case in chosen], deadline, workers) as bench:
        trial = bench.try_on(chosen)
    if as_json:
        return print_json(trial.as_json())
    _show(trial)


def _arguments(pairs: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """`key=value` pairs as YAML reads them. Raises ConfigError."""
    from omegaconf import OmegaConf

    from rl.config import ConfigError, resolve

    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ConfigError(f"--arg: '{pair}' is not key=value, for example --arg normalise=false")
    return resolve(OmegaConf.from_dotlist(list(pairs)), "--arg")


def _show(trial: Trial) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rl.terminal import console, say

    out, disagreements = console(), trial.disagreements
    if disagreements:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("case", "what", "answer", "gold", "score", "why"):
            table.add_column(name, overflow="fold")
        for judged in disagreements[:50]:
            row = judged.as_json()
            score = "" if judged.verdict.error is not None else f"{judged.verdict.score:.3g}"
            why = judged.verdict.error or judged.verdict.reason
            what = judged.kind.replace("_", " ")
            cells = (
                row["case"].rpartition(":")[2],
                what,
                _short(row["pred"]),
                _short(str(row["gold"])),
                score,
                _short(why),
            )
            table.add_row(*map(Text, cells))
        out.print(table)
        if len(disagreements) > 50:
            say(f"… and {len(disagreements) - 50} more; --json lists all")
    summary = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("cls", *trial.summary()):
        summary.add_column(name.replace("_", " "), justify="left" if name == "cls" else "right")
    classes = trial.classes()
    for name, counts in {**(classes if len(classes) > 1 else {}), "all": trial.summary()}.items():
        summary.add_row(Text(name), *map(str, counts.values()))
    out.print(summary)
    say(f"{trial.as_json()['per_second']:g} cases a second")


def _short(text: str, limit: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
