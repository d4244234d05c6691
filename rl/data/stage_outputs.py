"""Reads the data sets that stages write, `distill` and `pairs`.

Each row names a prompt of a data set of the recipe and holds what was made of it; reading joins the two, so that clips
are not written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from rl.data.json_rows import jsonl
from rl.data.pairs import Pair
from rl.data.rows import Row
from rl.json_files import Fields
from rl.types import Demonstration, Prompt

Lookup = Callable[[str, str | None], Iterable[Prompt]]
"""A function of (data set, split) that returns its prompts."""


def load_distilled(file: Path, lookup: Lookup) -> list[Prompt]:
    """Return the prompts of a `distill` stage's file, each with a sampled answer as its demonstration: rows `{"id",
    "data", "split", "prompt", "reasoning", "response"}`. Raises ValueError for a row whose prompt is missing."""
    return [
        # Under the row's own id: a prompt may have several answers, and a draw holds no id twice.
        replace(prompt, id=row["id"], demonstration=_demonstration(row, where))
        for where, row, prompt in _join(file, lookup)
    ]


def load_pairs(file: Path, lookup: Lookup) -> list[Pair]:
    """Return the pairs of a `pairs` stage's file: rows `{"id", "data", "split", "prompt", "chosen", "rejected"}`. Raises
    ValueError for a row whose prompt is missing."""
    return [
        Pair(
            replace(prompt, id=row["id"]),
            _demonstration(row.get("chosen"), where),
            _demonstration(row.get("rejected"), where),
        )
        for where, row, prompt in _join(file, lookup)
    ]


def _join(file: Path, lookup: Lookup) -> Iterator[tuple[str, Row, Prompt]]:
    """Yield (place, row, its prompt)."""
    prompts: dict[tuple[str, str | None], dict[str, Prompt]] = {}  # by data set and split, read once each
    for where, row in jsonl(file):
        fields = Fields(row, where, "give the file that a stage of this recipe wrote")
        data, id, name = (_text(fields, key) for key in ("data", "prompt", "id"))
        split = fields.text("split")
        if (data, split) not in prompts:
            prompts[data, split] = {prompt.id: prompt for prompt in lookup(data, split)}
        if id not in prompts[data, split]:
            raise ValueError(f"{where}: '{data}', split '{split}', has no prompt '{id}'; was the data changed since?")
        yield where, {**row, "id": name}, prompts[data, split][id]


def _text(fields: Fields, key: str) -> str:
    """Return the text in a column that every row has. Any jsonl file may be named here, not only one that a stage wrote."""
    text = fields.text(key)
    if text is None:
        raise ValueError(f"{fields.place}: no column '{key}'; {fields.fix}")
    return text


def _demonstration(row: object, where: str) -> Demonstration:
    texts = (row.get("reasoning"), row.get("response")) if isinstance(row, dict) else (None, None)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where}: an answer without reasoning and response; write both as texts")
    return Demonstration(*texts)  # type: ignore[arg-type]
