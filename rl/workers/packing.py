"""Each rank's micro-batches of a pass forward, and of optimiser steps.

Some rows of a batch stay together when it is cut: pairs, and the samples of a prompt, which then goes through the trunk once
(see `models.shared_prompts`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rl.data.collate import pack
from rl.workers.optimiser_step import OptimiserStep

if TYPE_CHECKING:
    from torch import Tensor

    from rl.types import Batch
    from rl.workers.trainer_config import TrainerConfig


MicroBatches = Sequence[Sequence[int]]
"""Rows of each of a rank's micro-batches."""


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
        # Behind the unit's first sample only answers go through the trunk.
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


def plan_forward(batch: Batch, config: TrainerConfig, ranks: int) -> Sequence[MicroBatches]:
    """Return each rank's part of a pass forward over the whole batch."""
    return micro_batches(samples_by_prompt(batch, range(len(batch)), _unit_tokens(batch, config, ranks)), config, ranks)


def plan_steps(
    batch: Batch,
    steps: Sequence[Sequence[int]],
    rates: Sequence[float],
    config: TrainerConfig,
    ranks: int,
    in_pairs: bool = False,
) -> Sequence[Sequence[OptimiserStep]]:
    """Return, for each rank, its share of each optimiser step. `steps` are the rows of each; with `in_pairs` every two of them
    in a row stay in one micro-batch."""
    plans: list[list[OptimiserStep]] = [[] for _ in range(ranks)]
    for rows, rate in zip(steps, rates, strict=True):
        if not len(rows):  # fewer sequences were left than steps to cut them into: no update, and its rate goes unused
            continue
        # As in `plan_forward`, but one step's rows at a time: steps are taken one after the other.
        most = _unit_tokens(batch, config, ranks)
        units = pairs(batch, rows) if in_pairs else samples_by_prompt(batch, rows, most)
        for plan, of_rank in zip(plans, micro_batches(units, config, ranks), strict=True):
            # The dummy is a whole pair where the loss is one of pairs.
            plan.append(OptimiserStep(rows, of_rank, rate, rows[: 2 if in_pairs else 1]))
    return plans


def _unit_tokens(batch: Batch, config: TrainerConfig, ranks: int) -> int:
    """Return the size up to which the samples of a prompt stay together: small enough that ranks remain balanced."""
    return config.sequence_parallel * min(config.tokens_per_microbatch, len(batch.tokens_T) // (4 * ranks))
