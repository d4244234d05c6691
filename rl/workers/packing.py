"""What stays together when a batch is cut to micro-batches: pairs, and the samples of a prompt, which then goes through the
trunk once (see `models.shared_prompts`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rl.types import Batch


@dataclass(slots=True)
class Unit:
    """Rows of a batch that stay in one micro-batch."""

    rows: list[int]
    tokens: int
    """Tokens that go through the trunk."""


def pairs(batch: Batch, rows: Sequence[int]) -> list[Unit]:
    """Return every two `rows` in a row as a unit."""
    lengths = cast("list[int]", batch.lengths_N.tolist())  # torch leaves `tolist` untyped
    return [Unit([i, j], lengths[i] + lengths[j]) for i, j in zip(rows[::2], rows[1::2], strict=True)]


def samples_by_prompt(batch: Batch, rows: Sequence[int], most_tokens: int) -> list[Unit]:
    """Return `rows` in units of samples that share their prompt, of at most `most_tokens` where they are of several."""
    from models.shared_prompts import is_worth_sharing, prompt_lengths

    lengths, groups = (cast("list[int]", column.tolist()) for column in (batch.lengths_N, batch.groups_N))
    prompts = prompt_lengths(batch.lengths_N, batch.action_mask_T)
    units: list[Unit] = []
    newest: dict[int, Unit] = {}  # group -> its unit that may have room left
    for row in rows:
        unit, answer = newest.get(groups[row]), lengths[row] - prompts[row]
        if unit and is_worth_sharing(prompts[row], answer) and unit.tokens + answer <= most_tokens:
            unit.rows.append(row)
            unit.tokens += answer
        else:
            units.append(Unit([row], lengths[row]))
            newest[groups[row]] = units[-1]
    return units
