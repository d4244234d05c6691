"""Chains of thought that the verifier `grounding` judged: for each stage, some that reason from an imagined text beside
some whose claims are true of the sound."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from rl.data.rows import fail
from rl.report.run_data import Run, Stage
from rl.report.samples import Row, read_rollouts
from rl.run.tracker import Refuse, rollout_files
from rl.stages.registry import STAGES, measures_model
from rl.think import split_think

PAIRS = 4
"""Most pairs of a stage."""


def _shows_chains(kind: str) -> bool:
    """Return whether stages of that kind record chains worth setting side by side: evaluations and distillations."""
    return measures_model(kind) or (kind in STAGES and "samples" in STAGES[kind].makes)


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of chains with some property, among all chains of the same kind."""

    chains: int
    """Number of all chains."""
    count: int
    """Number of chains with the property."""
    correct: int
    """Number of chains with the property whose answer is correct."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples from one source, of the same prompt where there are such; None where the stage has none."""

    source: str
    surrogate_row: Row | None
    """A chain that reasons from an imagined text."""
    grounded_row: Row | None
    """A chain whose claims are true of the sound."""
    surrogate_tally: Tally
    grounded_tally: Tally

    @property
    def rows(self) -> list[Row]:
        """The samples that exist, one or two."""
        return [row for row in (self.surrogate_row, self.grounded_row) if row is not None]

    @property
    def same_prompt(self) -> bool:
        """Return whether there is only one prompt to show."""
        return len({row["id"] for row in self.rows}) == 1


@dataclass(frozen=True, slots=True)
class Chains:
    """The recorded chains of a stage: all of an evaluation, the first of a distillation."""

    stage: Stage
    surrogate_tally: Tally
    pairs: list[Pair] = field(default_factory=list[Pair])

    @property
    def clips(self) -> list[str]:
        """Fingerprints of the clips of all pairs."""
        return [name for pair in self.pairs for row in pair.rows for name in row.get("clips") or ()]


def read_chains(run: Run, refuse: Refuse = fail) -> list[Chains]:
    """Return the chains of each finished evaluation and distillation that has them, in order.

    The choice is the same for every call. Sources take turns; grounded chains are ranked by their score, ties broken by
    chance; prompts shown for one stage are preferred in the next ones, so that a reader can follow them. `refuse` gets a
    ValueError for a file that cannot be read.
    """
    files: dict[str, Path] = {stage: path for stage, _, path in rollout_files(run.path)}  # the last step's
    chains: list[Chains] = []
    earlier_ids: set[str] = set()
    for stage in run.stages:
        if stage.name not in files or not _shows_chains(stage.kind):
            continue
        rows = [row for row in read_rollouts(files[stage.name], refuse) if _has_verdict(row)]
        if rows:
            # A seed of its own for each stage: another stage in the recipe changes no choice.
            random_order = random.Random(stage.name).sample(rows, len(rows))
            pairs = _choose_pairs(random_order, earlier_ids)
            chains.append(Chains(stage, _tally(rows, filter(reasons_from_text, rows)), pairs))
            earlier_ids |= {row["id"] for pair in pairs for row in pair.rows}
    return chains


GROUNDING_COLUMNS = ("part/grounding", "part/grounding/true", "part/grounding/surrogates")
"""Parts of a score that say what a chain is grounded in."""


def reasons_from_text(row: Row) -> bool:
    """Return whether the chain reasons from an imagined text."""
    return row["part/grounding/surrogates"] > 0


def is_grounded(row: Row) -> bool:
    """Return whether the chain makes true claims about the sound and does not reason from a text."""
    return row["part/grounding"] > 0 and row["part/grounding/true"] > 0 and not reasons_from_text(row)


def is_correct(row: Row) -> bool:
    """Return whether the answer counts as correct in curation and evaluation: by part `accuracy`, else by the score."""
    accuracy = row.get("part/accuracy")
    return (row["score"] if accuracy is None else accuracy) >= 0.5


def _has_verdict(row: Row) -> bool:
    """Return whether the sample has a chain and a verdict of `grounding` on it."""
    # Runs without `grounding` have no such columns.
    if row["error"] is not None or any(row.get(column) is None for column in GROUNDING_COLUMNS):
        return False
    return bool(split_think(row["text"])[0])


def _choose_pairs(rows: Sequence[Row], earlier_ids: set[str]) -> list[Pair]:
    by_source: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_source[row["source"]].append(row)
    surrogate_rates = {
        source: sum(map(reasons_from_text, source_rows)) / len(source_rows) for source, source_rows in by_source.items()
    }
    # Sources with the most imagined texts come first: those are what the section is about.
    sources = sorted(by_source, key=lambda source: (-surrogate_rates[source], source))
    columns = [_choose_pairs_of_source(source, by_source[source], earlier_ids) for source in sources]
    # Sources take turns, so that one of them does not fill all places.
    return [pair for turn in zip_longest(*columns) for pair in turn if pair is not None][:PAIRS]


def _choose_pairs_of_source(source: str, rows: Sequence[Row], earlier_ids: set[str]) -> list[Pair]:
    """Return pairs of the same prompt, else of any two prompts, else one sample alone."""

    def rank(row: Row) -> tuple[float, float, bool]:
        # Best first; False sorts before True.
        return -row["part/grounding"], -row["part/grounding/true"], row["id"] not in earlier_ids

    surrogate_rows = [row for row in rows if reasons_from_text(row)]
    grounded_rows = sorted(filter(is_grounded, rows), key=rank)
    tallies = _tally(rows, surrogate_rows), _tally(rows, grounded_rows)
    first_surrogates, first_grounded = _first_by_prompt(surrogate_rows), _first_by_prompt(grounded_rows)
    matches: list[tuple[Row | None, Row | None]] = [
        (first_surrogates[id], first_grounded[id]) for id in first_grounded if id in first_surrogates
    ]
    if not matches:
        candidates = sorted(first_surrogates.values(), key=lambda row: row["id"] not in earlier_ids)
        if candidates and first_grounded:
            # No prompt has both: two prompts of the same kind of question come closest.
            matches = list(zip(candidates, first_grounded.values(), strict=False))
        elif candidates:
            matches = [(candidates[0], None)]
        elif first_grounded:
            matches = [(None, next(iter(first_grounded.values())))]
    return [Pair(source, *match, *tallies) for match in matches[:PAIRS]]


def _first_by_prompt(rows: Iterable[Row]) -> dict[str, Row]:
    """Return {prompt's id: its first row}."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["id"], row)
    return first


def _tally(rows: Sequence[Row], group: Iterable[Row]) -> Tally:
    answers = [is_correct(row) for row in group]
    return Tally(len(rows), len(answers), sum(answers))
