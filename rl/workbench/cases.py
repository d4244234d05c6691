"""Labelled cases for a verifier: rows `{pred, gold, equal}` of a jsonl file, or a verifier's own GOLD.

`gold` is a text, or a list of texts of which any is right. A row may also have `prompt` (the question), `cls` (a class to
count by), `context` (columns for the verifier, as a recipe's `fields` would hand them on) and `audio` (a file, or a list of
files, relative to the file of cases).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nextafter
from pathlib import Path
from typing import cast

from rewards.contract import RIGHT, WRONG, Case
from rl.config import ConfigError, did_you_mean
from rl.data.json_rows import jsonl
from rl.data.rows import Row, column, locate, type_name
from rl.types import Clip, Rollout


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """An answer with its label, as the workbench judges it."""

    place: str
    """`FILE:LINE` or `GOLD[i]`."""
    golds: tuple[str | None, ...]
    """The right answers; the case agrees with its label if it does by any of them."""
    rollouts: tuple[Rollout, ...]
    """The answer as a rollout, once for each gold."""
    equal: bool
    """The label: True where the answer is right."""
    bounds: tuple[float, float]
    """(lowest, highest) score that agrees with the label."""
    cls: str | None = None
    """The class that the case is counted under."""
    args: Mapping[str, object] | None = None
    """Arguments of the verifier for this case; they override the others."""

    @property
    def pred(self) -> str:
        """The answer's text."""
        return self.rollouts[0].text


def from_gold(gold: Sequence[Case]) -> list[LabelledCase]:
    """Return a verifier's own gold cases as labelled ones."""
    return [
        LabelledCase(f"GOLD[{i}]", (case.gold,), (case.rollout(),), case.equal, case.bounds, args=case.args)
        for i, case in enumerate(gold)
    ]


def read_cases(file: str, label: str, threshold: float, classes: Sequence[str] = ()) -> list[LabelledCase]:
    """Return the cases of a jsonl file, or those of its `classes` alone if any are named. `label` is the column with the
    label; a row without it is labelled by its `equal`. A right answer must score at least `threshold`, a wrong one less.
    Raises ValueError naming file and line."""
    path = locate(file, "--cases")
    if not path.is_file():
        raise ConfigError(f"--cases: {path} is a folder; name a jsonl file in it")
    rows = list(jsonl(path))
    # one row with the column is enough: published sets correct only the labels that are wrong
    if label != "equal" and not any(label in row for _, row in rows):
        columns = dict.fromkeys(name for _, row in rows for name in row)
        raise ConfigError(f"--label: no row of {path} has a column '{label}'{did_you_mean(label, columns)}")
    selection = [(where, row) for where, row in rows if not classes or _class_of(row) in classes]
    if not rows:
        raise ConfigError(f"--cases: {path} has no case; add one row for each")
    if not selection:
        names = ", ".join(sorted({_class_of(row) or "none" for _, row in rows}))
        raise ConfigError(f"--cases: {path} has no case of cls {', '.join(classes)}; it has {names}")
    return [_read_case(row, where, label, threshold, path.parent) for where, row in selection]


def _read_case(row: Row, where: str, label: str, threshold: float, folder: Path) -> LabelledCase:
    pred = _text(column(row, "pred", where), "pred", where)
    equal = row.get(label) if row.get(label) is not None else column(row, "equal", where)
    if not isinstance(equal, bool):
        raise ValueError(f"{where}: column '{label}' is {equal!r}; write true or false")
    question = _text(row.get("prompt") or "", "prompt", where)
    fields = _fields(row, where)
    golds = _golds(row, fields, where)
    clips = _clips(row, where, folder)
    rollouts = [Case(pred, gold, question=question, fields=fields, clips=clips).rollout() for gold in golds]
    rollouts = [replace(r, prompt=replace(r.prompt, id=where)) for r in rollouts]  # errors name the row, not "gold"
    bounds = (threshold, RIGHT[1]) if equal else (0.0, min(WRONG[1], nextafter(threshold, -1.0)))  # strictly below it
    return LabelledCase(where, golds, tuple(rollouts), equal, bounds, _class_of(row))


def _class_of(row: Row) -> str | None:
    """Return the class of a row as text, since `--cls 3` is one where the file has a number; None without any."""
    cls = row.get("cls")
    return None if cls is None else str(cls)


def _golds(row: Row, fields: Mapping[str, object], where: str) -> tuple[str | None, ...]:
    if "correct_letter" in fields:  # published tests of graders: it overrides the label
        return (str(fields["correct_letter"]).upper(),)
    gold = column(row, "gold", where)
    if gold is None:
        return (None,)
    if isinstance(gold, list):
        if not gold:
            raise ValueError(f"{where}: column 'gold' is an empty list; give at least one right answer")
        return tuple(_text(text, "gold", where) for text in cast(list[object], gold))
    return (_text(gold, "gold", where),)


def _fields(row: Row, where: str) -> dict[str, object]:
    """Return the columns that `context` hands to the verifier. JSON in its `metadata` is merged in, and `choices` are also
    called `options`, as published grader tests have them."""
    context = row.get("context")
    if context is None:
        return {}
    if isinstance(context, str):
        return {"context": context}
    if not isinstance(context, dict):
        raise ValueError(f"{where}: column 'context' is a {type_name(context)}; write a mapping or text")
    fields = dict(cast(dict[str, object], context))
    metadata = fields.get("metadata")
    if isinstance(metadata, str):
        try:
            values = json.loads(metadata)
        except ValueError:  # a text that is no JSON stays a text
            values = None
        if isinstance(values, dict):
            fields |= cast(dict[str, object], values)
    if "choices" in fields:
        fields.setdefault("options", fields["choices"])
    return fields


def _clips(row: Row, where: str, folder: Path) -> tuple[Clip, ...]:
    audio = row.get("audio")
    if audio is None:
        return ()
    names = cast(list[object], audio) if isinstance(audio, list) else [audio]
    paths = [folder / _text(name, "audio", where) for name in names]
    for path in paths:
        if not os.path.isfile(path):
            raise ValueError(f"{where}: no such file: {path}; correct the path in 'audio'")
    return tuple(Clip(path=str(path)) for path in paths)


def _text(value: object, name: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{where}: column '{name}' is a {type_name(value)}; write text")
