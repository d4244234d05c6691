from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from ragged import LENGTHS, SEEDS, mask, padded, random_batch

from rl.algorithms.policy_losses import action_weights
from rl.algorithms.value_losses import explained_variance, value_loss


def test_by_hand():
    values = torch.tensor([1.0, 0.6, 3.0, 0.1], requires_grad=True)
    old, returns = torch.tensor([0.9, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
    loss, clipped = value_loss(values, old, returns, value_clip=0.5)
    # inside; held at 0.5, farther from the return; held at 1.5, nearer; held at 0.5, nearer
    assert loss.tolist() == pytest.approx([0.5, 0.125, 4.5, 0.405])
    assert clipped.tolist() == [0, 1, 0, 0]
    loss.sum().backward()
    assert values.grad.tolist() == pytest.approx([1.0, 0.0, 3.0, -0.9])
    unclipped, none = value_loss(values, old, returns, value_clip=None)
    assert unclipped.tolist() == pytest.approx([0.5, 0.08, 4.5, 0.405])
    assert none.tolist() == [0, 0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(LENGTHS, SEEDS)
def test_same_as_verl(actions: list[int], seed: int):
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    batch = random_batch(seed, actions)
    new = batch.values_A + 0.7 * batch.advantages_A
    loss, clipped = value_loss(new, batch.values_A, batch.returns_A, 0.5)
    theirs, fraction = core.compute_value_loss(
        padded(new, batch), padded(batch.returns_A, batch), padded(batch.values_A, batch), mask(batch), 0.5
    )
    weights = action_weights(batch.actions_N, "token_mean")
    assert float((loss * weights).sum()) == pytest.approx(float(theirs), abs=1e-6)
    assert float(clipped.mean()) == pytest.approx(float(fraction), abs=1e-6)


def test_explained_variance():
    returns = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.full((4,), 0.5), returns) == 0
    assert explained_variance(torch.tensor([0.25, 0.75, 0.25, 0.75]), returns) == pytest.approx(0.75)
    assert explained_variance(1 - returns, returns) == pytest.approx(-3)
    assert explained_variance(returns, torch.full((4,), 0.2)) == 0, "nothing to explain"
    assert explained_variance(torch.ones(1), torch.zeros(1)) == 0
