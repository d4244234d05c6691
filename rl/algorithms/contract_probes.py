"""Small batches on which the contract of an advantage or a loss is tried: eight sequences, four dozen actions.

Shape legend as in `rl.types`: N sequences, T tokens, A actions of all sequences laid end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, cast

from rl.types import Batch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

State = Literal["ok", "FAILS", "-"]
"""Result of a trial; `-`: the clause does not concern the function."""
Trial = Callable[[], tuple[State, str]]
"""A trial of one clause: its state, and by how much it is broken or a remark."""

ACTIONS = (9, 3, 7, 1, 12, 5, 8, 4)
"""Actions of each sequence: no two alike, one of a single action."""
GROUPS = (4, 4, 4, 9, 9, 2, 2, 2)
"""Groups of two and three samples; an errored verdict leaves such gaps."""
SCORES = (1.0, 0.0, 0.5, 1.0, 0.2, 0.7, 0.7, 0.7)
"""Scores; those of the last group are all equal, and no fraction of two."""


def probe(
    dtype: torch.dtype,
    scores: Sequence[float] = SCORES,
    groups: Sequence[int] = GROUPS,
    actions: Sequence[int] = ACTIONS,
    prompt: int = 2,
    gaps: int = 0,
    first_token: int = 0,
) -> Batch:
    """Return a batch with every column. `prompt` tokens come before each sequence's actions, `gaps` tokens of somebody else
    after its first one; tokens count from `first_token`. The columns are the same whatever these three are."""
    import torch

    rows = [[False] * prompt + [True] + [False] * gaps + [True] * (count - 1) for count in actions]
    action_mask_T = torch.tensor([is_action for row in rows for is_action in row])
    draw = torch.Generator().manual_seed(7)
    total = sum(actions)

    def normal(scale: float, shift: float = 0.0) -> Tensor:
        return (shift + scale * torch.randn(total, generator=draw, dtype=torch.float64)).to(dtype)

    # Clamped, since logprobs are not positive.
    old = normal(0.5, -1.5).clamp(max=-0.05)
    columns = {
        "old": old,
        "ref": old + normal(0.3),
        "teacher": old.roll(1),
        "values": normal(1.0),
        "advantages": normal(1.0),
        "returns": normal(1.0),
    }
    rewards = torch.zeros(total, dtype=dtype)
    rewards[torch.tensor(actions).cumsum(0) - 1] = torch.tensor(scores, dtype=dtype)
    return Batch(
        tokens_T=torch.arange(len(action_mask_T)) + first_token,
        lengths_N=torch.tensor([len(row) for row in rows]),
        action_mask_T=action_mask_T,
        rollout_logprobs_A=old + normal(0.05),
        scores_N=torch.tensor(scores, dtype=dtype),
        groups_N=torch.tensor(groups),
        names_N=tuple(f"probe-{i}" for i in range(len(actions))),
    ).add(**columns, rewards=rewards)


def moved_logprobs(batch: Batch) -> Tensor:
    """Return [A] logprobs of a policy that has moved from the old one, some actions past the usual clips."""
    import torch

    draw = torch.Generator().manual_seed(11)
    moves_A = 0.25 * torch.randn(len(batch.old_A), generator=draw, dtype=torch.float64)
    return (batch.old_A + moves_A.to(batch.old_A.dtype)).clamp(max=-1e-3)


def rows_of_actions(batch: Batch, rows: Sequence[int]) -> Tensor:
    """Return the places in [A] of the actions of `rows`, in that order."""
    import torch

    counts = cast("list[int]", batch.actions_N.tolist())
    pieces = cast(
        "tuple[Tensor, ...]", torch.arange(len(batch.rollout_logprobs_A)).split(counts)
    )  # torch leaves both untyped
    return torch.cat([pieces[row] for row in rows])


def copies(batch: Batch) -> dict[str, Tensor]:
    """Return clones of the batch's columns, by field."""
    import dataclasses

    import torch

    columns = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return {name: value.clone() for name, value in columns.items() if isinstance(value, torch.Tensor)}


def changed_columns(batch: Batch, before: dict[str, Tensor]) -> list[str]:
    """Return the columns that are not what they were in `before`."""
    import torch

    return [name.strip("_") for name, value in before.items() if not torch.equal(getattr(batch, name), value)]
