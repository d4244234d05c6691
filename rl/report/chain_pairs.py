"""What chains rest on: of each stage that judged them by `grounding`, some that reason from an imagined text beside some
whose claims are true of the sound, and how the shares of both move over the run."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rl.report.run_data import Run, Stage
from rl.report.samples import recorded
from rl.run.tracker import rollout_files
from rl.types import split_think

PAIRS, KINDS = 4, ("evaluate", "distill")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """Of `chains` so many do it, and `right` of those answer right."""

    chains: int
    count: int
    right: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples of one kind of question, of the same prompt where there were such; None where a stage has none."""

    source: str
    surrogate: Row | None
    grounded: Row | None
    surrogates: Tally
    groundeds: Tally

    @property
    def rows(self) -> list[Row]:
        return [row for row in (self.surrogate, self.grounded) if row is not None]

    @property
    def together(self) -> bool:
        return len({row["id"] for row in self.rows}) == 1


@dataclass(frozen=True, slots=True)
class Chains:
    """The recorded chains of a stage: all of them of an evaluation, the first of a distillation."""

    stage: Stage
    surrogates: Tally
    pairs: list[Pair] = field(default_factory=list[Pair])

    @property
    def clips(self) -> list[str]:
        return [name for pair in self.pairs for row in pair.rows for name in row.get("clips") or ()]


def read_chains(run: Run) -> list[Chains]:
    """Of each finished evaluation and distillation that has them, in order. The choice is the same each time: of each
    kind of question in turn, grounded chains by their score, and by chance where it is the same; the questions of one
    stage come back in the next where they can."""
    files: dict[str, Path] = {stage: path for stage, _, path in rollout_files(run.path)}  # the last step's
    told: list[Chains] = []
    shown: set[str] = set()
    for stage in run.stages:
        if stage.kind not in KINDS or stage.name not in files:
            continue
        rows = [row for row in recorded(files[stage.name]) if _judged(row)]
        if rows:
            pairs = _pairs(random.Random(stage.name).sample(rows, len(rows)), shown)
            told.append(Chains(stage, _tally(rows, filter(from_text, rows)), pairs))
            shown |= {row["id"] for pair in pairs for row in pair.rows}
    return told


def from_text(row: Row) -> bool:
    """Does the chain reason from an imagined text?"""
    return row["part/grounding/surrogates"] > 0


def grounded(row: Row) -> bool:
    """Does it claim what is true of the sound, and nothing from a text?"""
    return row["part/grounding"] > 0 and row["part/grounding/true"] > 0 and not from_text(row)


def right(row: Row) -> bool:
    """As curation and evaluation count: by the part `accuracy`, else by the score."""
    accuracy = row.get("part/accuracy")
    return (row["score"] if accuracy is None else accuracy) >= 0.5


def _judged(row: Row) -> bool:
    """A chain that has a verdict on what it rests on."""
    judged = row["error"] is None and row.get("part/grounding/surrogates") is not None
    return judged and bool(split_think(row["text"])[0])


def _pairs(rows: Sequence[Row], shown: set[str]) -> list[Pair]:
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sources[row["source"]].append(row)
    share = {name: sum(map(from_text, of)) / len(of) for name, of in sources.items()}
    columns = [
        _of_source(name, sources[name], shown) for name in sorted(sources, key=lambda name: (-share[name], name))
    ]
    return [pair for turn in zip_longest(*columns) for pair in turn if pair is not None][:PAIRS]


def _of_source(source: str, rows: Sequence[Row], shown: set[str]) -> list[Pair]:
    """Pairs of the same prompt, else of any two; one alone where there is nothing to put beside it."""

    def worth(row: Row) -> tuple[float, float, bool]:
        return -row["part/grounding"], -row["part/grounding/true"], row["id"] not in shown

    texts, sounds = list(filter(from_text, rows)), sorted(filter(grounded, rows), key=worth)
    tallies = _tally(rows, texts), _tally(rows, sounds)
    first, best = _first(texts), _first(sounds)
    found: list[tuple[Row | None, Row | None]] = [(first[id], best[id]) for id in best if id in first]
    if not found:
        lefts = sorted(first.values(), key=lambda row: row["id"] not in shown)
        found = list(zip(lefts, best.values(), strict=False)) or [(row, None) for row in lefts[:1]]
        found = found or [(None, row) for row in list(best.values())[:1]]
    return [Pair(source, left, right, *tallies) for left, right in found[:PAIRS]]


def _first(rows: Iterable[Row]) -> dict[str, Row]:
    """The first of each prompt."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["id"], row)
    return found


def _tally(rows: Sequence[Row], some: Iterable[Row]) -> Tally:
    verdicts = [right(row) for row in some]
    return Tally(len(rows), len(verdicts), sum(verdicts))
