"""Units of a batch that stay together in a micro-batch."""

from __future__ import annotations

import torch

from rl.types import Batch
from rl.workers.packing import pairs, samples_by_prompt


def batch(rows: list[tuple[int, list[int], int]]) -> Batch:
    """A batch of (group, tokens of the prompt, length of the answer)."""
    tokens = [torch.tensor([*prompt, *range(answer)]) for _, prompt, answer in rows]
    return Batch(
        tokens_T=torch.cat(tokens),
        lengths_N=torch.tensor([len(t) for t in tokens]),
        action_mask_T=torch.cat([torch.arange(len(p) + n) >= len(p) for _, p, n in rows]),
        rollout_logprobs_A=torch.zeros(sum(n for *_, n in rows)),
        scores_N=torch.zeros(len(rows)),
        groups_N=torch.tensor([group for group, *_ in rows]),
    )


FIRST, SECOND = [7] * 10, [8] * 10


def test_samples_of_a_prompt_stay_together_up_to_a_size() -> None:
    samples = batch([(0, FIRST, 5), (0, FIRST, 6), (1, SECOND, 5), (0, FIRST, 7), (1, SECOND, 5)])
    units = samples_by_prompt(samples, [0, 1, 2, 3, 4], most_tokens=25)
    assert [(unit.rows, unit.tokens) for unit in units] == [([0, 1], 21), ([2, 4], 20), ([3], 17)]


def test_a_step_without_the_first_sample_still_shares() -> None:
    units = samples_by_prompt(batch([(0, FIRST, 5), (0, FIRST, 6), (0, FIRST, 7)]), [2, 1], most_tokens=100)
    assert [(unit.rows, unit.tokens) for unit in units] == [([2, 1], 23)]


def test_texts_that_differ_before_their_one_action_count_whole() -> None:
    """As the answers that a reward model scores: one group, and the last token is the action."""
    answers = batch([(0, [*FIRST, 1], 1), (0, [*FIRST, 2], 1), (0, [*FIRST, 3], 1)])
    units = samples_by_prompt(answers, [0, 1, 2], most_tokens=100)
    assert [(unit.rows, unit.tokens) for unit in units] == [([0], 12), ([1], 12), ([2], 12)]


def test_pairs_stay_together() -> None:
    units = pairs(batch([(0, FIRST, 5), (0, FIRST, 6), (1, SECOND, 5), (1, SECOND, 1)]), [2, 3, 0, 1])
    assert [(unit.rows, unit.tokens) for unit in units] == [([2, 3], 26), ([0, 1], 31)]
