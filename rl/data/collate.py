"""Collates rollouts and demonstrations to ragged batches, and cuts batches to micro-batches by token budget."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from rl.types import Batch, Prompt, Rollout, Scored

if TYPE_CHECKING:
    from torch import Tensor

    from rl.data.chat import Chat


def collate(scored: Sequence[Scored], version: int = 0) -> Batch:
    """Return one batch of samples in their order, to be learned from by this `version` of the policy; samples of the same
    prompt share a group. Errored samples must have been left out before: their score of 0 means nothing."""
    import numpy as np
    import torch

    rollouts = [s.rollout for s in scored]
    groups: dict[str, int] = {}
    return Batch(
        tokens_T=torch.from_numpy(np.concatenate([r.tokens for r in rollouts])).long(),
        lengths_N=torch.tensor([len(r.tokens) for r in rollouts]),
        action_mask_T=torch.from_numpy(np.concatenate([r.action_mask for r in rollouts])),
        rollout_logprobs_A=torch.from_numpy(np.concatenate([r.logprobs for r in rollouts])),
        scores_N=torch.tensor([s.verdict.score for s in scored], dtype=torch.float32),
        groups_N=torch.tensor([groups.setdefault(r.prompt.id, len(groups)) for r in rollouts]),
        version=version,
        clips_N=tuple(r.clips for r in rollouts),
        names_N=tuple(r.prompt.id for r in rollouts),
    ).add(versions=torch.tensor([version for r in rollouts for version in _versions(r)]))


def _versions(rollout: Rollout) -> list[int]:
    """Return the version that wrote each action."""
    spans = rollout.spans or ((rollout.version, len(rollout.logprobs)),)
    return [version for version, count in spans for _ in range(count)]


def collate_demonstrations(
    prompts: Sequence[Prompt], chat: Chat, max_sequence_tokens: int, tools: Sequence[Mapping[str, object]] = ()
) -> Batch:
    """Return a batch to imitate, in which the tokens of each prompt's demonstration are the actions; prompts tell of the
    `tools`. Raises ValueError naming the prompt when one has no demonstration or does not fit."""
    import torch

    tokens, lengths, action_mask = [], [], []
    for prompt in prompts:
        if prompt.demonstration is None:
            raise ValueError(f"prompt '{prompt.id}' has no demonstration to imitate; map `response:` in data.fields")
        try:
            question = chat.prompt(prompt.messages, prompt.clips, expand=True, tools=tools)
        except ValueError as error:
            raise ValueError(f"prompt '{prompt.id}': {error}") from error
        turn = chat.demonstration(prompt.demonstration)
        if len(question) + len(turn) > max_sequence_tokens:
            raise ValueError(
                f"prompt '{prompt.id}': {len(question) + len(turn)} tokens with its demonstration; "
                f"raise max_sequence_tokens ({max_sequence_tokens}) or drop the row"
            )
        tokens += question + turn
        learned = [True] * len(turn)
        if prompt.demonstration.is_cut:  # who learned to close a chain here would cut its own
            closing = chat.closing_in(turn)
            learned[closing] = [False] * len(turn[closing])
        action_mask += [False] * len(question) + learned
        lengths.append(len(question) + len(turn))
    count = len(prompts)
    return Batch(
        tokens_T=torch.tensor(tokens),
        lengths_N=torch.tensor(lengths),
        action_mask_T=torch.tensor(action_mask),
        rollout_logprobs_A=torch.zeros(sum(action_mask)),  # no engine sampled them
        scores_N=torch.zeros(count),
        groups_N=torch.arange(count),  # each its own group: nothing is compared
        clips_N=tuple(prompt.clips for prompt in prompts),
        names_N=tuple(prompt.id for prompt in prompts),
    )


def pack(lengths: Sequence[int], budget: int, ranks: int = 1) -> list[list[list[int]]]:
    """Return the indices of sequences as rank → micro-batches → sequences.

    Sequences of similar length share a micro-batch of at most `budget` tokens (a longer sequence gets one to itself);
    each micro-batch goes to the rank with the fewest tokens so far. Every rank gets equally many, because they reduce
    gradients together: a rank that would have fewer gets empty ones.
    """
    longest_first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))

    def cut(limit: int) -> list[list[int]]:
        micro_batches: list[list[int]] = []
        fill = limit  # so that the first sequence opens a micro-batch
        for i in longest_first:
            if fill + lengths[i] > limit:
                micro_batches.append([])
                fill = 0
            micro_batches[-1].append(i)
            fill += lengths[i]
        return micro_batches

    rounds = -(-len(cut(budget)) // ranks)  # micro-batches of each rank, rounded up
    # The smallest limit that takes no more rounds: then micro-batches, and with them ranks, are about equally large.
    # Their number falls as the limit grows; bisection wants it rising, hence the minus.
    limit = bisect_left(range(budget), -rounds * ranks, lo=1, key=lambda limit: -len(cut(limit)))
    micro_batches = cut(limit)
    ranks_work: list[list[list[int]]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    # The largest first, so that the small ones even out what is left.
    for micro_batch in sorted(micro_batches, key=lambda m: -sum(lengths[i] for i in m)):
        rank = min((r for r in range(ranks) if len(ranks_work[r]) < rounds), key=lambda r: load[r])
        ranks_work[rank].append(micro_batch)
        load[rank] += sum(lengths[i] for i in micro_batch)
    return [work + [[]] * (rounds - len(work)) for work in ranks_work]


def minibatches(groups_N: Tensor, epochs: int, parts: int, seed: int) -> list[list[int]]:
    """Return the rows of each optimiser step: `epochs` passes over a batch's sequences, shuffled by prompt and cut into
    `parts` of equal size. Where there are fewer sequences, parts are empty lists, so that each step keeps its learning
    rate. Of the prompts at most `parts` - 1 are cut apart: the others go through the trunk in one step alone. A single
    step takes all rows in order."""
    import numpy as np

    groups = cast("list[int]", groups_N.tolist())
    if epochs * parts == 1:
        return [list(range(len(groups)))]
    rows_of: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    random, samples = np.random.default_rng(seed), list(rows_of.values())
    steps: list[list[int]] = []
    for _ in range(epochs):
        order = [row for i in random.permutation(len(samples)) for row in samples[i]]
        steps += [part.tolist() for part in np.array_split(order, parts)]
    return steps
