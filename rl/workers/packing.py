"""Units of a batch that stay together when it is cut to micro-batches: pairs, and the samples of a prompt, which then goes
through the trunk once (see `models.shared_prompts`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rl.data.collate import pack

if TYPE_CHECKING:
    from torch import Tensor

    from rl.types import Batch
    from rl.workers.trainer_config import TrainerConfig


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
    from models.shared_prompts import find_owners, prompt_lengths

    lengths, groups = (cast("list[int]", column.tolist()) for column in (batch.lengths_N, batch.groups_N))
    prompts = prompt_lengths(batch.lengths_N, batch.action_mask_T)
    texts = cast("Sequence[Tensor]", batch.tokens_T.split(lengths))
    owners = find_owners(lengths, [text_t[:prompt] for text_t, prompt in zip(texts, prompts, strict=True)], groups)
    units: list[Unit] = []
    newest: dict[int, Unit] = {}  # owner of a prompt -> the unit of its samples that may have room left
    for row in rows:
        unit, answer = newest.get(owners[row]), lengths[row] - prompts[row]
        if unit and unit.tokens + answer <= most_tokens:
            unit.rows.append(row)
            unit.tokens += answer
        else:
            units.append(Unit([row], lengths[row]))
            newest[owners[row]] = units[-1]
    return units


def micro_batches(units: Sequence[Unit], config: TrainerConfig, ranks: int) -> list[list[list[int]]]:
    """Return rank → its micro-batches → their rows: balanced by tokens, and equally many micro-batches on every rank. Ranks
    that share sequences have the same ones."""
    sharing = config.sequence_parallel
    # A budget for each rank: of a shared micro-batch it takes its part of the tokens.
    plans = pack([unit.tokens for unit in units], config.tokens_per_microbatch * sharing, ranks // sharing)
    rows = [[[row for i in micro_batch for row in units[i].rows] for micro_batch in plan] for plan in plans]
    return [plan for plan in rows for _ in range(sharing)]
