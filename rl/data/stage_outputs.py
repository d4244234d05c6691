"""Data sets that stages write: each row names a prompt of a data set of the recipe and what was made of it. Joined with
the prompts they came from, clips and all, when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl.data.pairs import Pair
from rl.data.rows import jsonl
from rl.types import Demonstration, Prompt

Lookup = Callable[[str, str | None], Iterable[Prompt]]
"""(data set, split) -> its prompts."""


def distilled(file: Path, lookup: Lookup) -> list[Prompt]:
    """The prompts of a `distill` stage's file, each with a chain it was given: rows `{"id", "data", "split", "prompt",
    "reasoning", "response"}`. Raises ValueError for a row that names a prompt that is not there."""
    return [
        replace(prompt, id=row["id"], demonstration=_demonstration(row, where))
        for where, row, prompt in _joined(file, lookup)
    ]


def preference_pairs(file: Path, lookup: Lookup) -> list[Pair]:
    """The pairs of a `pairs` stage's file: rows `{"id", "data", "split", "prompt", "chosen", "rejected"}`. Raises
    ValueError for a row that names a prompt that is not there."""
    return [
        Pair(
            replace(prompt, id=row["id"]),
            _demonstration(row.get("chosen"), where),
            _demonstration(row.get("rejected"), where),
        )
        for where, row, prompt in _joined(file, lookup)
    ]


def _joined(file: Path, lookup: Lookup) -> Iterator[tuple[str, dict[str, Any], Prompt]]:
    known: dict[tuple[str, str | None], dict[str, Prompt]] = {}
    for where, row in jsonl(file):
        try:
            data, split, id, name = row["data"], row["split"], row["prompt"], row["id"]
        except KeyError as error:
            raise ValueError(f"{where}: no column {error}; give the file that a stage of this recipe wrote") from None
        assert isinstance(name, str)
        if (data, split) not in known:
            known[data, split] = {prompt.id: prompt for prompt in lookup(data, split)}
        if id not in known[data, split]:
            raise ValueError(f"{where}: '{data}', split '{split}', has no prompt '{id}'; was the data changed since?")
        yield where, row, known[data, split][id]


def _demonstration(row: Any, where: str) -> Demonstration:
    texts = (row.get("reasoning"), row.get("response")) if isinstance(row, dict) else (None, None)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where}: an answer without reasoning and response; write both as texts")
    return Demonstration(*texts)  # type: ignore[arg-type]
