"""Tables and JSON of what `rl verifiers test`, `attack` and `replay` find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any  # Any: values of JSON reports, which are read by name

from rich import box
from rich.table import Table
from rich.text import Text

from rl.terminal import console, say
from rl.types import Verdict
from rl.workbench.attacks import ATTACKS, Attempt, scores_full
from rl.workbench.replay import ReplayedSample, compare_groups, compare_means, largest_changes
from rl.workbench.trial import Trial

Json = dict[str, Any]
"""A report as `--json` prints it."""

MAX_LINES = 50
"""Number of lines in a table; --json prints all."""


def show_trial(trial: Trial) -> None:
    """Print the cases with which a verifier disagrees, counts by class, and the speed."""
    _say_printed(trial)
    disagreements = trial.disagreements
    if disagreements:
        table = _table("case", "kind", "answer", "gold", "score", "why")
        for result in disagreements[:MAX_LINES]:
            row, verdict = result.as_json(), result.verdict
            cells = (
                result.case.place.rpartition(":")[2],  # of FILE:LINE the line
                result.kind.replace("_", " "),
                _shorten(result.case.pred),
                _shorten(str(row["gold"])),
                "" if verdict.error is not None else f"{verdict.score:.3g}",
                _shorten(verdict.error or verdict.reason),
            )
            table.add_row(*map(Text, cells))  # Text: what stands in brackets is no markup of rich's
        console().print(table)
        _say_how_many_more(len(disagreements))
    summary = _table("cls", *(name.replace("_", " ") for name in trial.summary()), numbers=True)
    classes = trial.classes()
    if len(classes) > 1:
        for name, counts in classes.items():
            summary.add_row(Text(name), *map(str, counts.values()))
    summary.add_row(Text("all"), *map(str, trial.summary().values()))
    console().print(summary)
    say(f"{trial.per_second:g} cases a second")


def _say_printed(trial: Trial) -> None:
    """Print what the verifier has printed, each line after its case."""
    lines = [(place or "when loaded", line) for place, text in trial.printed.items() for line in text.splitlines()]
    for place, line in lines[:MAX_LINES]:
        say(f"printed, {place}: {line}")
    _say_how_many_more(len(lines))


def attacks_as_json(attempts: Sequence[Attempt], verdicts: Sequence[Verdict]) -> Json:
    """Return the numbers of attempts, errors and full scores, by attack and in all, with each answer that scored full."""
    attacks: dict[str, Json] = {}
    for attempt, verdict in zip(attempts, verdicts, strict=True):
        row = attacks.setdefault(attempt.attack, {"tried": 0, "errors": 0, "full": 0, "best": 0.0, "scored": []})
        row["tried"] += 1
        row["errors"] += verdict.error is not None
        row["best"] = max(row["best"], verdict.score if verdict.error is None else 0.0)
        if scores_full(attempt, verdict):
            row["full"] += 1
            hole = {"case": attempt.case.place, "answer": attempt.rollout.text, "gold": attempt.case.golds[0]}
            row["scored"].append({**hole, "score": verdict.score, "reason": verdict.reason})
    totals = {name: sum(row[name] for row in attacks.values()) for name in ("tried", "errors", "full")}
    return {**totals, "attacks": {name: attacks[name] for name in ATTACKS if name in attacks}}


def show_attacks(verifier: str, report: Mapping[str, Any]) -> None:
    """Print a report of `attacks_as_json`."""
    table = _table("attack", "tried", "errors", "full", "best", numbers=True)
    for name, row in report["attacks"].items():
        style = "bold red" if row["full"] else None
        counts = (str(row["tried"]), str(row["errors"]), str(row["full"]))
        table.add_row(Text(name), *counts, f"{row['best']:.3g}", style=style)
    console().print(table)
    holes = [(name, hole) for name, row in report["attacks"].items() for hole in row["scored"]]
    if not holes:
        say(f"none of {report['tried']} hacks scores full on {verifier}")
        return
    table = _table("attack", "case", "answer", "gold", "score")
    for name, hole in holes[:MAX_LINES]:
        cells = (name, hole["case"].rpartition("/")[2], _shorten(hole["answer"]), _shorten(str(hole["gold"])))
        table.add_row(*map(Text, cells), f"{hole['score']:.3g}")
    console().print(table)
    _say_how_many_more(len(holes))
    say(f"{report['full']} of {report['tried']} hacks score full on {verifier}: a policy will find them")
    if all(hole["gold"] is None for _, hole in holes):
        say("it compares with no gold: let it count only where a part that does is right (only_if: accuracy)")


def replay_as_json(samples: Sequence[ReplayedSample], limit: int) -> Json:
    """Return the means by part, the changes in the groups, and the `limit` samples that change most."""
    flips = [
        {
            "stage": sample.stage,
            "step": sample.step,
            "id": sample.rollout.prompt.id,
            "sample": sample.rollout.sample,
            "before": sample.old_score,
            "after": sample.new_score,
            "text": sample.rollout.text,
            "gold": sample.rollout.prompt.answer,
            "reason": sample.verdict.reason,
        }
        for sample in largest_changes(samples, limit)
    ]
    means = {name: {"before": old, "after": new} for name, (old, new) in compare_means(samples).items()}
    changes = sum(sample.change != 0 for sample in samples)
    return {"n": len(samples), "changed": changes, "means": means, **compare_groups(samples), "flips": flips}


def show_replay(report: Mapping[str, Any]) -> None:
    """Print a report of `replay_as_json`."""
    table = _table("mean of", "in the run", "now", "change", numbers=True)
    for name, row in report["means"].items():
        if name == "errors":  # a count, not a mean
            continue
        old, new = row["before"], row["after"]
        change = "" if old is None or new is None else f"{new - old:+.3f}"
        table.add_row(Text(name), *("–" if v is None else f"{v:.3f}" for v in (old, new)), change)
    console().print(table)
    errors = report["means"]["errors"]
    say(
        f"{report['changed']} of {report['n']} samples score differently; {errors['before']:.0f} could not be judged in the "
        f"run, {errors['after']:.0f} now"
    )
    say(
        f"{report['groups']} groups: {report['other_best']} have another best sample; "
        f"{report['without_spread_before']} had no spread, {report['without_spread_after']} have none now"
    )
    say(
        f"of their pairs, {report['pairs_turned']:.1%} change order, {report['pairs_tied_or_untied']:.1%} become or leave a "
        "tie"
    )
    if report["flips"]:
        table = _table("sample", "in the run", "now", "answer", "gold", "why")
        for flip in report["flips"]:
            place = f"{flip['stage']} {flip['step']} {flip['id']} #{flip['sample']}"
            scores = (f"{flip['before']:.3g}", f"{flip['after']:.3g}")
            texts = (_shorten(flip["text"]), _shorten(str(flip["gold"])), _shorten(flip["reason"]))
            table.add_row(*map(Text, (place, *scores, *texts)))
        console().print(table)


def _table(*columns: str, numbers: bool = False) -> Table:
    """Return an empty table; with `numbers` all columns but the first are aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, overflow="fold", justify="right" if numbers and i else "left")
    return table


def _say_how_many_more(lines: int) -> None:
    if lines > MAX_LINES:
        say(f"… and {lines - MAX_LINES} more; --json lists all")


def _shorten(text: str, limit: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
