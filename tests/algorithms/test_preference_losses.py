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


def test_ipo_takes_means_over_tokens() -> None:
    logprobs = torch.tensor([-1.0, -2.0, -1.0, -3.0, -5.0, -1.0, -2.0, -2.0, -2.0], requires_grad=True)
    ref = torch.tensor([-2.0, -2.0, -1.0, -1.0, -2.0, -2.0, -1.0, -1.0, -1.0])
    actions = torch.tensor([2, 3, 1, 3])
    loss, diagnostics = preference_loss(logprobs, ref, actions, Preference("ipo", beta=0.25))
    # log ratios: 1 over two tokens and -5 over three, so 1/2 + 5/3; then 1 over one and -3 over three, so 1 + 1
    assert loss.tolist() == pytest.approx([(1 / 2 + 5 / 3 - 2) ** 2, 0.0], rel=1e-5)
    assert diagnostics["margin"].tolist() == pytest.approx([0.25 * (1 / 2 + 5 / 3), 0.5])
    assert diagnostics["reward/chosen"].tolist() == pytest.approx([0.125, 0.25])
    assert diagnostics["reward/rejected"].tolist() == pytest.approx([-5 / 12, -0.25])
    assert diagnostics["logprob/rejected"].tolist() == [-9.0, -6.0], "of whole answers"
    loss.sum().backward()
    pull = 2 * (1 / 2 + 5 / 3 - 2)
    assert logprobs.grad is not None
    expected = [pull / 2] * 2 + [-pull / 3] * 3 + [0.0] * 4
    assert logprobs.grad.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("repeats", [1, 2, 50])
def test_ipo_does_not_depend_on_the_length_of_an_answer_that_goes_on_alike(repeats: int) -> None:
    chosen, rejected = torch.tensor([-1.0, -0.5]).repeat(repeats), torch.tensor([-2.0, -3.0, -1.0])
    logprobs, actions = torch.cat([chosen, rejected]), torch.tensor([2 * repeats, 3])
    loss, diagnostics = preference_loss(logprobs, torch.full_like(logprobs, -1.25), actions, Preference("ipo", 0.5))
    assert loss.tolist() == pytest.approx([(0.5 + 0.75 - 1) ** 2])
    assert diagnostics["accuracy"].tolist() == [1.0]


def test_a_long_answer_that_loses_in_the_mean_and_wins_in_the_sum() -> None:
    logprobs, ref = torch.tensor([-1.0] * 10 + [-1.5]), torch.tensor([-1.1] * 10 + [-2.0])
    actions = torch.tensor([10, 1])
    accuracies = [
        preference_loss(logprobs, ref, actions, Preference(loss))[1]["accuracy"].tolist() for loss in ("dpo", "ipo")
    ]
    assert accuracies == [[1.0], [0.0]]


def test_ipo_is_trls() -> None:
    """The terms of trl.DPOTrainer with loss_type ipo, written out: its scores are masked sums of padded log ratios."""
    draw = torch.Generator().manual_seed(0)
    actions = torch.tensor([4, 7, 1, 3, 9, 2])
    logprobs, ref = (-torch.rand(26, generator=draw, dtype=torch.float64) for _ in range(2))
    ours, _ = preference_loss(logprobs, ref, actions, Preference("ipo", beta=0.3))
    rows = [torch.nn.utils.rnn.pad_sequence(x.split(actions.tolist()), batch_first=True) for x in (logprobs, ref)]
    mask = torch.arange(9) < actions[:, None]
    scores = ((rows[0] - rows[1]) * mask).sum(1) / mask.sum(1).clamp(min=1.0)
    theirs = (scores[0::2] - scores[1::2] - 1 / (2 * 0.3)) ** 2
    torch.testing.assert_close(ours, theirs)


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
