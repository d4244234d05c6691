from __future__ import annotations

import math

import pytest
import torch

from rl.algorithms.preference_losses import Preference, bradley_terry, dpo, ipo, preference_loss, sequence_sums
from rl.config import ConfigError


def test_dpo_by_hand() -> None:
    margins = torch.tensor([0.0, 10.0, -10.0], requires_grad=True)
    loss = dpo(margins, beta=0.1)
    # -log σ(0) = log 2; -log σ(1) = log(1 + 1/e); -log σ(-1) = log(1 + e)
    assert loss.tolist() == pytest.approx([math.log(2), math.log(1 + 1 / math.e), math.log(1 + math.e)])
    loss.sum().backward()
    # d/dm = -β σ(-β m)
    assert margins.grad is not None
    assert margins.grad.tolist() == pytest.approx([-0.05, -0.1 / (1 + math.e), -0.1 * math.e / (1 + math.e)])


def test_smoothed_labels_have_a_best_margin() -> None:
    """Where σ(β m) = 1 - ε the gradient is 0: a pair that may be mislabelled is not pushed apart without end."""
    best = math.log(0.9 / 0.1) / 0.5
    margins = torch.tensor([best], requires_grad=True)
    loss = dpo(margins, beta=0.5, label_smoothing=0.1)
    assert loss.tolist() == pytest.approx([-0.9 * math.log(0.9) - 0.1 * math.log(0.1)])
    loss.sum().backward()
    assert margins.grad is not None
    assert margins.grad.tolist() == pytest.approx([0.0], abs=1e-7)


def test_ipo_and_bradley_terry_by_hand() -> None:
    assert ipo(torch.tensor([0.0, 5.0, 8.0]), beta=0.1).tolist() == pytest.approx([25.0, 0.0, 9.0])
    assert bradley_terry(torch.tensor([0.0, math.log(3)])).tolist() == pytest.approx([math.log(2), math.log(4 / 3)])
    assert bradley_terry(torch.tensor([-1e4, 1e4])).tolist() == [1e4, 0.0], "far margins neither overflow nor vanish"


def test_a_pair_is_judged_by_whole_sequences() -> None:
    logprobs = torch.tensor([-1.0, -2.0, -1.0, -3.0, -1.0, -1.0], requires_grad=True)
    ref = torch.tensor([-2.0, -2.0, -1.0, -1.0, -1.0, -1.0])
    actions = torch.tensor([2, 2, 1, 1])
    assert sequence_sums(ref, actions).tolist() == [-4.0, -2.0, -1.0, -1.0]
    loss, said = preference_loss(logprobs, ref, actions, Preference(beta=0.5))
    # log ratios: chosen (-1 -2) - (-4) = 1, rejected (-1 -3) - (-2) = -2: margin 3; the second pair is the reference
    assert loss.tolist() == pytest.approx([math.log(1 + math.exp(-1.5)), math.log(2)])
    assert said["margin"].tolist() == [1.5, 0.0]
    assert said["accuracy"].tolist() == [1.0, 0.5]
    assert said["reward/chosen"].tolist() == [0.5, 0.0]
    assert said["reward/rejected"].tolist() == [-1.0, 0.0]
    assert said["logprob/chosen"].tolist() == [-3.0, -1.0]
    assert said["logprob/rejected"].tolist() == [-4.0, -1.0]
    loss.sum().backward()
    assert logprobs.grad is not None
    pull = 0.5 / (1 + math.exp(1.5))
    assert logprobs.grad.tolist() == pytest.approx([-pull, -pull, pull, pull, -0.25, 0.25])
    assert not any(value.requires_grad for value in said.values())
    loss, _ = preference_loss(logprobs.detach(), ref, actions, Preference("ipo", beta=0.5))
    assert loss.tolist() == pytest.approx([4.0, 1.0])


@pytest.mark.parametrize(
    ("preference", "says"),
    [
        (Preference(beta=0.0), r"stage\.beta: got 0\.0; it must be above 0"),
        (Preference(label_smoothing=0.5), r"stage\.label_smoothing: got 0\.5; it must lie in \[0, 0\.5\)"),
        (
            Preference("ipo", label_smoothing=0.1),
            r"stage\.label_smoothing: got 0\.1; only loss: dpo smooths labels; remove it",
        ),
    ],
)
def test_knobs_out_of_bounds(preference: Preference, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        preference.validate("stage")
