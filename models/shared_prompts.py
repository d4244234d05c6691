"""Passes a prompt that the samples of a group share through the trunk only once.

Of 16 samples of one prompt, 15 would compute the prompt's states anew: with prompts of 45 tokens and answers of 5, as in
sums, nine tenths of the work. Here one sample, the owner, brings the prompt; the others bring their answers alone, which
attend to the owner's. States, and gradients, are those of every sequence by itself.

Suffixes: T tokens of a batch, U those of them that go through the trunk, N sequences, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from models.attention import Segments
from models.varlen import Span

LONGEST_ANSWER = 2048
"""Answers beyond this many tokens do not share: their attention needs a mask of answer × (prompt + answer) entries."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """The tokens of a batch that go through the trunk, and where the states before its actions come out."""

    tokens_U: Tensor
    """Indices in the batch of the tokens that go through."""
    segments: Segments
    """Segments of these tokens."""
    before_A: Tensor
    """Index in U of the token before each action, which is the one that predicts it."""


def plan_trunk(
    tokens_T: Tensor, lengths_N: Tensor, action_mask_T: Tensor, groups_N: Tensor | None, multiple: int = 1
) -> Trunk:
    """Return what goes through the trunk. Sequences of one of `groups_N` heard the same clips, and share what they have in
    common before their first actions; without groups nothing is shared. The tokens are padded to a `multiple`. All tensors
    are on the CPU."""
    lengths = cast("list[int]", lengths_N.tolist())
    prompts = prompt_lengths(lengths_N, action_mask_T)
    groups = list(range(len(lengths))) if groups_N is None else cast("list[int]", groups_N.tolist())
    texts = cast("tuple[Tensor, ...]", tokens_T.split(lengths))
    owners = find_owners(lengths, [text_t[:prompt] for text_t, prompt in zip(texts, prompts, strict=True)], groups)
    spans: list[Span] = []
    tokens: list[Tensor] = []  # pieces of U
    row_T = torch.empty(len(action_mask_T), dtype=torch.long)  # where in U the state of each token comes out
    start_T = start_U = 0
    owner_starts: dict[int, int] = {}  # sequence -> where it begins in U
    for i, (length, prompt, owner) in enumerate(zip(lengths, prompts, owners, strict=True)):
        trunk = prompt if owner != i else 0
        owner_starts[i] = start_U
        if trunk:
            row_T[start_T : start_T + trunk] = owner_starts[owner] + torch.arange(trunk)
        row_T[start_T + trunk : start_T + length] = start_U + torch.arange(length - trunk)
        tokens.append(torch.arange(start_T + trunk, start_T + length))
        spans.append(Span(start_U, length - trunk, owner_starts[owner], trunk))
        start_T, start_U = start_T + length, start_U + length - trunk
    if padding := -start_U % multiple:  # as a sequence of its own, whose states nobody reads
        tokens.append(torch.zeros(padding, dtype=torch.long))
        spans.append(Span(start_U, padding))
    # Never -1: a sequence's first token is no action (see `rl.types.Batch`).
    before_A = row_T[torch.nonzero(action_mask_T)[:, 0] - 1]
    return Trunk(torch.cat(tokens), Segments(tuple(spans)), before_A)


def prompt_lengths(lengths_N: Tensor, action_mask_T: Tensor) -> list[int]:
    """Return the tokens of each sequence before its first action; all of them where it has none."""
    masks = cast("tuple[Tensor, ...]", action_mask_T.split(lengths_N.tolist()))
    return [int(mask_t.int().argmax()) if bool(mask_t.any()) else len(mask_t) for mask_t in masks]


def find_owners(lengths: list[int], prompts: list[Tensor], groups: list[int]) -> list[int]:
    """Return, for each sequence, the one whose prompt it shares: an earlier one of its group, or itself."""
    owners = list(range(len(lengths)))
    first_of_group: dict[int, int] = {}
    for i, (prompt_t, group) in enumerate(zip(prompts, groups, strict=True)):
        owner = first_of_group.setdefault(group, i)
        # Answers that a reward model scores are of one group too, and have their one action at the ends of different texts.
        if is_worth_sharing(len(prompt_t), lengths[i] - len(prompt_t)) and torch.equal(prompts[owner], prompt_t):
            owners[i] = owner
    return owners


def is_worth_sharing(prompt: int, answer: int) -> bool:
    """Return whether a sample of so many tokens takes less time without its prompt."""
    # Sharing needs a mask, and with a mask no kernel skips what a token cannot see: it must save more than that costs.
    return 0 < answer <= min(4 * prompt, LONGEST_ANSWER)
