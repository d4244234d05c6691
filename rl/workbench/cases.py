"""Labelled cases for a verifier: rows `{pred, gold, equal}` of a jsonl file, or a verifier's own GOLD.

`gold` is a text, or a list of texts of which any is right; `prompt` (the question), `cls`, `context` (columns for the
verifier, as a recipe's `fields` would hand them on) and `audio` (a file, relative to the cases) may be there too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewards.contract import RIGHT, WRONG, Case
from rl.config import ConfigError, did_you_mean
from rl.data.rows import Row, column, jsonl, locate, type_name
from rl.types import Clip, Rollout


@dataclass(frozen=True, slots=True)
class Labelled:
    """A case as the bench judges it."""

    place: str
    """`FILE:LINE` or `GOLD[i]`."""
    golds: tuple[str | None, ...]
    """Any of them is right."""
    rollouts: tuple[Rollout, ...]
    """One for each gold."""
    equal: bool
    bounds: tuple[float, float]
    """Least and greatest score that agrees with the label."""
    cls: str | None = None
    args: Mapping[str, Any] | None = None
    """Laid over the verifier's arguments."""

    @property
    def pred(self) -> str:
        return self.rollouts[0].text


def of_gold(gold: Sequence[Case]) -> list[Labelled]:
    """A verifier's own cases."""
    return [
        Labelled(f"GOLD[{i}]", (case.gold,), (case.rollout(),), case.equal, case.bounds, args=case.args)
        for i, case in enumerate(gold)
    ]


def read(file: str, label: str, threshold: float, classes: Sequence[str] = ()) -> list[Labelled]:
    """The cases of a jsonl file, of these classes alone if any are named. `label` is the column with the verdict; where
    a row has it not, `equal` counts. A score of `threshold` or more counts as equal. Raises ValueError."""
    path = locate(file, "--cases")
    if not path.is_file():
        raise ConfigError(f"--cases: {path} is a folder; name a jsonl file in it")
    rows = list(jsonl(path))
    if label != "equal" and not any(label in row for _, row in rows):
        named = dict.fromkeys(name for _, row in rows for name in row)
        raise ConfigError(f"--label: no row of {path} has a column '{label}'{did_you_mean(label, named)}")
    chosen = [(where, row) for where, row in rows if not classes or row.get("cls") in classes]
    if not chosen:
        found = ", ".join(sorted({str(row.get("cls")) for _, row in rows}))
        raise ConfigError(
            f"--cases: {path} has no case" + (f" of cls {', '.join(classes)}; it has {found}" if rows else "")
        )
    return [_labelled(row, where, label, threshold, path.parent) for where, row in chosen]


def _labelled(row: Row, where: str, label: str, threshold: float, folder: Path) -> Labelled:
    pred = _text(column(row, "pred", where), "pred", where)
    equal = row.get(label) if row.get(label) is not None else column(row, "equal", where)
    if not isinstance(equal, bool):
        raise ValueError(f"{where}: column '{label}' is {equal!r}; write true or false")
    question = _text(row.get("prompt") or "", "prompt", where)
    fields = _fields(row, where)
    golds = _golds(row, fields, where)
    clips = _clips(row, where, folder)
    made = [Case(pred, gold, question=question, fields=fields, clips=clips).rollout() for gold in golds]
    rollouts = tuple(replace(r, prompt=replace(r.prompt, id=where)) for r in made)
    bounds = (threshold, RIGHT[1]) if equal else (0.0, min(WRONG[1], _below(threshold)))
    cls = row.get("cls")
    return Labelled(where, golds, rollouts, equal, bounds, None if cls is None else str(cls))


def _golds(row: Row, fields: Mapping[str, Any], where: str) -> tuple[str | None, ...]:
    if "correct_letter" in fields:  # published tests of graders: it overrides the label
        return (str(fields["correct_letter"]).upper(),)
    gold = column(row, "gold", where)
    if gold is None:
        return (None,)
    if isinstance(gold, list):
        if not gold:
            raise ValueError(f"{where}: column 'gold' is an empty list; give at least one right answer")
        return tuple(_text(one, "gold", where) for one in gold)
    return (_text(gold, "gold", where),)


def _fields(row: Row, where: str) -> dict[str, Any]:
    """What `context` hands to the verifier; JSON in its `metadata` is read, and `choices` are `options`."""
    context = row.get("context")
    if context is None:
        return {}
    if isinstance(context, str):
        return {"context": context}
    if not isinstance(context, dict):
        raise ValueError(f"{where}: column 'context' is a {type_name(context)}; write a mapping or text")
    fields = dict(context)
    if isinstance(metadata := fields.get("metadata"), str):
        try:
            metadata = json.loads(metadata)
        except ValueError:
            metadata = None
        fields |= metadata if isinstance(metadata, dict) else {}
    if "choices" in fields:
        fields.setdefault("options", fields["choices"])
    return fields


def _clips(row: Row, where: str, folder: Path) -> tuple[Clip, ...]:
    audio = row.get("audio")
    if audio is None:
        return ()
    names = audio if isinstance(audio, list) else [audio]
    paths = [folder / _text(name, "audio", where) for name in names]
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{where}: no such file: {path}; correct the path in 'audio'")
    return tuple(Clip(path=str(path)) for path in paths)


def _text(value: Any, name: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{where}: column '{name}' is a {type_name(value)}; write text")


def _below(value: float) -> float:
    from math import nextafter

    return nextafter(value, -1.0)
