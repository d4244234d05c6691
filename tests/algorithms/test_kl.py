from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.algorithms.kl import kl


def test_by_hand():
    logprobs, ref = torch.tensor([math.log(0.5), math.log(0.2)]), torch.tensor([math.log(0.25), math.log(0.4)])
    two = math.log(2)
    assert kl(logprobs, ref, "k1").tolist() == pytest.approx([two, -two])
    assert kl(logprobs, ref, "k2").tolist() == pytest.approx([two**2 / 2, two**2 / 2])
    assert kl(logprobs, ref, "k3").tolist() == pytest.approx([0.5 + two - 1, 2 - two - 1])


def test_expectations_over_all_actions():
    """k1 and k3 are unbiased; the gradients are those the module promises."""
    logits = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64, requires_grad=True)
    p, q = logits.log_softmax(0), torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64).log()
    divergence, reverse = (p.exp() * (p - q)).sum(), (q.exp() * (q - p)).sum()
    drawn = p.exp().detach()
    for name in ("k1", "k3"):
        assert (drawn * kl(p, q, name)).sum().item() == pytest.approx(divergence.item())

    def gradient(y: torch.Tensor) -> list[float]:
        return torch.autograd.grad(y, logits, retain_graph=True)[0].tolist()

    assert gradient((drawn * kl(p, q, "k1")).sum()) == pytest.approx([0, 0, 0], abs=1e-12)
    assert gradient((drawn * kl(p, q, "k2")).sum()) == pytest.approx(gradient(divergence))
    assert gradient((drawn * kl(p, q, "k3")).sum()) == pytest.approx(gradient(reverse))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-80, 0), st.floats(-80, 0)), min_size=1, max_size=20))
def test_same_as_verl_and_finite(pairs: list[tuple[float, float]]):
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    logprobs, ref = torch.tensor(pairs).T
    for name in ("k1", "k2", "k3"):
        ours = kl(logprobs, ref, name)
        assert bool(ours.isfinite().all())
        torch.testing.assert_close(ours, core.kl_penalty(logprobs, ref, name), rtol=0, atol=1e-6)
