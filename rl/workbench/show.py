"""The bench's findings as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from rl.terminal import console, say
from rl.types import Verdict
from rl.workbench.attacks import ATTACKS, Attempt, scores_full
from rl.workbench.replay import Replayed, flips, group_changes, means
from rl.workbench.trial import Trial

MOST = 50
"""Lines of a table; --json has all."""


def show_trial(trial: Trial) -> None:
    out, disagreements = console(), trial.disagreements
    if disagreements:
        table = _table("case", "what", "answer", "gold", "score", "why")
        for judged in disagreements[:MOST]:
            row = judged.as_json()
            score = "" if judged.verdict.error is not None else f"{judged.verdict.score:.3g}"
            why = judged.verdict.error or judged.verdict.reason
            place, what = row["case"].rpartition(":")[2], judged.kind.replace("_", " ")
            table.add_row(*map(Text, (place, what, _short(row["pred"]), _short(str(row["gold"])), score, _short(why))))
        out.print(table)
        _more(len(disagreements))
    summary = _table("cls", *(name.replace("_", " ") for name in trial.summary()), right=True)
    classes = trial.classes()
    for name, counts in {**(classes if len(classes) > 1 else {}), "all": trial.summary()}.items():
        summary.add_row(Text(name), *map(str, counts.values()))
    out.print(summary)
    say(f"{trial.as_json()['per_second']:g} cases a second")


def attacks_as_json(tried: Sequence[Attempt], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Tries, errors and full scores, of each attack and in all, with each answer that scored full."""
    attacks: dict[str, dict[str, Any]] = {}
    for attempt, verdict in zip(tried, verdicts, strict=True):
        of = attacks.setdefault(attempt.attack, {"tried": 0, "errors": 0, "full": 0, "best": 0.0, "scored": []})
        of["tried"] += 1
        of["errors"] += verdict.error is not None
        of["best"] = max(of["best"], verdict.score if verdict.error is None else 0.0)
        if scores_full(attempt, verdict):
            of["full"] += 1
            gold = attempt.case.golds[0]
            found = {"case": attempt.case.place, "answer": attempt.rollout.text, "gold": gold}
            of["scored"].append({**found, "score": verdict.score, "reason": verdict.reason})
    totals = {name: sum(of[name] for of in attacks.values()) for name in ("tried", "errors", "full")}
    return {**totals, "attacks": {name: attacks[name] for name in ATTACKS if name in attacks}}


def show_attacks(verifier: str, found: Mapping[str, Any]) -> None:
    table = _table("attack", "tried", "errors", "full", "best", right=True)
    for name, of in found["attacks"].items():
        style = "bold red" if of["full"] else None
        table.add_row(
            Text(name), str(of["tried"]), str(of["errors"]), str(of["full"]), f"{of['best']:.3g}", style=style
        )
    console().print(table)
    holes = [(name, one) for name, of in found["attacks"].items() for one in of["scored"]]
    if holes:
        scored = _table("attack", "case", "answer", "gold", "score")
        for name, one in holes[:MOST]:
            cells = (name, one["case"].rpartition("/")[2], _short(one["answer"]), _short(str(one["gold"])))
            scored.add_row(*map(Text, cells), f"{one['score']:.3g}")
        console().print(scored)
        _more(len(holes))
        say(f"{found['full']} of {found['tried']} hacks score full on {verifier}: a policy will find them")
        if all(one["gold"] is None for _, one in holes):
            say("it compares with no gold: let it count only where a part that does is right (only_if: accuracy)")
        return
    say(f"none of {found['tried']} hacks scores full on {verifier}")


def replay_as_json(replayed: Sequence[Replayed], most: int) -> dict[str, Any]:
    """Means by part, what becomes of the groups, and the samples that change most."""
    flipped = [
        {
            "stage": s.stage,
            "step": s.step,
            "id": s.rollout.prompt.id,
            "sample": s.rollout.sample,
            "before": s.before,
            "after": s.after,
            "text": s.rollout.text,
            "gold": s.rollout.prompt.answer,
            "reason": s.now.reason,
        }
        for s in flips(replayed, most)
    ]
    table = {name: {"before": before, "after": after} for name, (before, after) in means(replayed).items()}
    changed = sum(s.change != 0 for s in replayed)
    return {"n": len(replayed), "changed": changed, "means": table, **group_changes(replayed), "flips": flipped}


def show_replay(replayed: Sequence[Replayed], most: int) -> None:
    found = replay_as_json(replayed, most)
    table = _table("mean of", "in the run", "now", "change", right=True)
    errors = found["means"].pop("errors")
    for name, of in found["means"].items():
        before, after = of["before"], of["after"]
        change = "" if before is None or after is None else f"{after - before:+.3f}"
        table.add_row(Text(name), *("–" if v is None else f"{v:.3f}" for v in (before, after)), change)
    console().print(table)
    groups = found["groups"]
    erred = f"{errors['before']:.0f} had no verdict, now {errors['after']:.0f}"
    say(f"{found['changed']} of {found['n']} samples score otherwise; {erred}")
    say(
        f"{groups} groups: {found['other_best']} have another best sample; without spread were "
        f"{found['without_spread_before']}, now {found['without_spread_after']}"
    )
    say(
        f"of their pairs, {found['pairs_turned']:.1%} turn round, {found['pairs_tied_or_untied']:.1%} become or leave a tie"
    )
    if found["flips"]:
        table = _table("sample", "in the run", "now", "answer", "gold", "why")
        for flip in found["flips"]:
            place = f"{flip['stage']} {flip['step']} {flip['id']} #{flip['sample']}"
            scores = (f"{flip['before']:.3g}", f"{flip['after']:.3g}")
            texts = (_short(flip["text"]), _short(str(flip["gold"])), _short(flip["reason"]))
            table.add_row(*map(Text, (place, *scores, *texts)))
        console().print(table)


def _table(*columns: str, right: bool = False) -> Table:
    """`right`: all columns but the first hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, overflow="fold", justify="right" if right and i else "left")
    return table


def _more(lines: int) -> None:
    if lines > MOST:
        say(f"… and {lines - MOST} more; --json lists all")


def _short(text: str, limit: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
