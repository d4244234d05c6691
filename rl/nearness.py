"""Finds the name that was probably meant by a misspelt word."""

from __future__ import annotations

import re
from collections.abc import Sequence


def nearest(word: str, names: Sequence[str]) -> str | None:
    """Return the name that was probably meant by `word`: the same in other capitals or signs, one with a slip of the pen, or
    an abbreviation; None where each would be a guess."""
    bare_word = _bare(word)
    distances: list[tuple[int, str]] = []
    for name in names:
        distance = edit_distance(bare_word, _bare(name))
        length = min(len(bare_word), len(_bare(name)))
        # One letter of three to four may be wrong, at most three: beyond that, words that mean something else are as near.
        if distance <= min(3, (length + 1) // 3 if length > 2 else 0):
            distances.append((distance, name))
        elif _abbreviates(word.casefold(), name.casefold()):
            # Behind every slip of the pen, which has a distance of 3 at most.
            distances.append((4, name))
    return min(distances, key=lambda entry: entry[0])[1] if distances else None


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold() or name


def _abbreviates(word: str, name: str) -> bool:
    """Return whether the parts of `word` begin those of `name`: `learn_rate`, `max_seq_tokens`, `samples` (per prompt)."""
    parts, full_parts = word.split("_"), name.split("_")
    begins = len(parts) <= len(full_parts) and all(
        part and full.startswith(part) for part, full in zip(parts, full_parts, strict=False)
    )
    return begins and len(word) > 3


def edit_distance(one: str, other: str) -> int:
    """Return how many letters must be inserted, left out, replaced or swapped with their neighbour to make them equal."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, target in enumerate(other, 1):
            costs = [before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != target)]
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == target:
                costs.append(above[j - 2] + 1)
            row.append(min(costs))
    return row[-1]
