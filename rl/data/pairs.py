"""Pairs two answers to one prompt by which is preferred, and batches such pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rl.data.rows import type_name
from rl.think import split_think, to_standard_tags
from rl.types import Batch, Demonstration, Prompt

if TYPE_CHECKING:
    from rl.data.chat import Chat


@dataclass(frozen=True, slots=True)
class Pair:
    """A preferred and a rejected answer to one prompt."""

    prompt: Prompt
    """The prompt; its id is that of the pair, since a prompt may have several pairs."""
    chosen: Demonstration
    rejected: Demonstration

    @property
    def id(self) -> str:
        """The id of the pair."""
        return self.prompt.id


def pairs_of(prompts: Iterable[Prompt], place: str) -> list[Pair]:
    """Return the pairs of prompts whose rows have `chosen` and `rejected` (map both in `data.fields`): texts, with or
    without a `<think>` chain. Raises ValueError naming the prompt."""
    pairs: list[Pair] = []
    for prompt in prompts:
        sides: list[Demonstration] = []
        for name in ("chosen", "rejected"):
            value = prompt.fields.get(name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(
                    f"{place}: prompt '{prompt.id}': '{name}' is {type_name(value)}, not a text; "
                    "map `chosen:` and `rejected:` in data.fields"
                )
            sides.append(Demonstration(*split_think(to_standard_tags(value))))
        pairs.append(Pair(prompt, *sides))
    return pairs


def pair_batch(pairs: Sequence[Pair], chat: Chat, max_sequence_tokens: int) -> Batch:
    """Return a batch of two sequences a pair, the chosen answer and then the rejected one. Raises ValueError naming a
    prompt that does not fit."""
    from rl.data.collate import collate_demonstrations

    # By turns, so that rows 2i and 2i + 1 are a pair, as the losses take them.
    sides = [replace(p.prompt, demonstration=side) for p in pairs for side in (p.chosen, p.rejected)]
    return collate_demonstrations(sides, chat, max_sequence_tokens)


def last_token_batch(batch: Batch) -> Batch:
    """Return the sequences with the last token of each as its only action. A value head then gives one value a sequence:
    that of the whole answer."""
    import torch

    ends_N = batch.lengths_N.cumsum(0) - 1
    action_mask_T = torch.zeros_like(batch.action_mask_T)
    action_mask_T[ends_N] = True
    return Batch(
        tokens_T=batch.tokens_T,
        lengths_N=batch.lengths_N,
        action_mask_T=action_mask_T,
        rollout_logprobs_A=torch.zeros(len(batch)),  # one action each now, whose logprob nobody reads
        scores_N=batch.scores_N,
        groups_N=batch.groups_N,
        clips_N=batch.clips_N,
        names_N=batch.names_N,
    )
