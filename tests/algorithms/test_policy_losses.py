from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ragged import LENGTHS, SEEDS, mask, padded, ragged, random_batch, take
from torch import Tensor

from rl.algorithms.objective import Importance, Objective
from rl.algorithms.policy_losses import POLICY_LOSSES, action_weights, policy_objective
from rl.config import ConfigError
from rl.types import Batch

NORMALISE = ("token_mean", "sequence_mean", "constant")


def logs(*ratios: float) -> list[float]:
    return [math.log(r) for r in ratios]


def terms(knobs: Objective, ratios: list[float], advantages: list[float], actions: list[int] | None = None, **columns):
    """(loss, gradient with respect to the logprobs, diagnostics) where old logprobs are 0."""
    n = len(ratios)
    batch = ragged(actions or [n], advantages=advantages, **{"old": [0.0] * n, **columns})
    logprobs = torch.tensor(logs(*ratios), dtype=torch.float64, requires_grad=True)
    loss, diagnostics = policy_objective(logprobs, None, batch, knobs)
    loss.sum().backward()
    assert logprobs.grad is not None
    return loss.tolist(), logprobs.grad.tolist(), diagnostics


# By hand


def test_ppo_clip():
    loss, gradient, diagnostics = terms(Objective(), [1.5, 1.1, 0.5, 1.5, 0.5], [1, 1, 1, -1, -1])
    assert loss == pytest.approx([-1.2, -1.1, -0.5, 1.5, 0.8])
    assert gradient == pytest.approx([0, -1.1, -0.5, 1.5, 0])
    assert diagnostics["clipped"].tolist() == [1, 0, 0, 0, 1]
    assert diagnostics["ratio"].tolist() == pytest.approx([1.5, 1.1, 0.5, 1.5, 0.5])
    assert diagnostics["approx_kl"].tolist() == pytest.approx([r - 1 - math.log(r) for r in (1.5, 1.1, 0.5, 1.5, 0.5)])


def test_clip_higher_and_dual_clip():
    loss, _, diagnostics = terms(Objective(clip_high=0.28), [1.25, 1.5], [1, 1])
    assert loss == pytest.approx([-1.25, -1.28])
    assert diagnostics["clipped"].tolist() == [0, 1]
    loss, gradient, diagnostics = terms(Objective(dual_clip=3), [5, 2.5, 5], [-2, -2, 2])
    assert loss == pytest.approx([6, 5, -2.4])
    assert gradient == pytest.approx([0, 5, 0])
    assert diagnostics["clipped"].tolist() == [1, 0, 1]


def test_gspo():
    """Ratios 4 and 1 make a sequence's ratio of 2, clipped; 1.21 and 1 make 1.1, kept."""
    knobs = Objective(policy_loss="gspo")
    loss, gradient, diagnostics = terms(knobs, [4, 1, 1.21, 1], [1, 1, 1, 1], actions=[2, 2])
    assert loss == pytest.approx([-1.2, -1.2, -1.1, -1.1])
    assert gradient == pytest.approx([0, 0, -1.1, -1.1])
    assert diagnostics["clipped"].tolist() == [1, 1, 0, 0]


def test_cispo_keeps_every_gradient():
    knobs = Objective(policy_loss="cispo", clip_low=1.0, clip_high=0.5)
    loss, gradient, diagnostics = terms(knobs, [4, 0.1], [1, -1])
    assert loss == pytest.approx([-1.5 * math.log(4), 0.1 * math.log(0.1)])
    assert gradient == pytest.approx([-1.5, 0.1])
    assert diagnostics["clipped"].tolist() == [1, 0]


def test_reinforce_and_nll():
    loss, gradient, _ = terms(Objective(policy_loss="reinforce"), [0.5, 0.25], [2, -1])
    assert loss == pytest.approx([2 * math.log(2), -2 * math.log(2)])
    assert gradient == [-2, 1]
    logprobs = torch.tensor([-1.0, -2.0])
    loss, _ = policy_objective(logprobs, None, ragged([2]), Objective(policy_loss="nll"))
    assert loss.tolist() == [1, 2], "and no advantages are needed"


@pytest.mark.parametrize("name", [name for name in POLICY_LOSSES if name != "nll"])
def test_without_old_logprobs_the_policy_is_on_policy(name: str):
    batch = ragged([2, 1], advantages=[1, -2, 3])
    logprobs = torch.tensor([-1.0, -2, -3], dtype=torch.float64, requires_grad=True)
    loss, diagnostics = policy_objective(logprobs, None, batch, Objective(policy_loss=name))
    loss.sum().backward()
    assert logprobs.grad.tolist() == [-1, 2, -3], "every loss is REINFORCE on its first step"
    assert diagnostics["ratio"].tolist() == [1, 1, 1]
    assert diagnostics["approx_kl"].tolist() == diagnostics["clipped"].tolist() == [0, 0, 0]


def test_kl_and_entropy_are_terms():
    batch = ragged([2], old=[0, 0], advantages=[0, 0], ref=logs(0.5, 1))
    logprobs = torch.tensor(logs(1, 0.5), dtype=torch.float64)
    entropy = torch.tensor([0.5, 1.0])
    knobs = Objective(kl_coef=2.0, kl_in="loss", kl_estimator="k3", entropy_coef=0.1)
    loss, diagnostics = policy_objective(logprobs, entropy, batch, knobs)
    k3 = [0.5 + math.log(2) - 1, 2 - math.log(2) - 1]
    assert loss.tolist() == pytest.approx([2 * k3[0] - 0.05, 2 * k3[1] - 0.1])
    assert diagnostics["kl"].tolist() == pytest.approx(k3)
    assert diagnostics["entropy"].tolist() == [0.5, 1]
    in_reward, _ = policy_objective(logprobs, entropy, batch, replace(knobs, kl_in="reward", entropy_coef=0.0))
    assert in_reward.tolist() == [0, 0]


def test_action_weights():
    actions = torch.tensor([1, 3])
    assert action_weights(actions, "token_mean").tolist() == [0.25] * 4
    assert action_weights(actions, "sequence_mean").tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    assert action_weights(actions, "constant", 8).tolist() == [1 / 16] * 4


def test_extreme_gaps_stay_finite():
    batch = ragged([2], old=[-200, 0], advantages=[-1, -1], rollout_logprobs=[0, -200], dtype=torch.float32)
    for name in POLICY_LOSSES:
        logprobs = torch.tensor([0.0, -200], requires_grad=True)
        loss, diagnostics = policy_objective(logprobs, None, batch, Objective(policy_loss=name, importance_cap=2.0))
        loss.sum().backward()
        assert all(bool(x.isfinite().all()) for x in (loss, logprobs.grad, *diagnostics.values()))


def test_an_outsiders_loss_must_not_be_reduced(tmp_path, monkeypatch):
    (tmp_path / "their_policy.py").write_text(
        "def mean(logprobs, batch, objective): return -logprobs.mean(), {}\n"
        "def terms(logprobs, batch, objective): return -2 * logprobs, {'mine': logprobs}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    batch, logprobs = ragged([2]), torch.tensor([-1.0, -2.0])
    loss, diagnostics = policy_objective(logprobs, None, batch, Objective(policy_loss="their_policy:terms"))
    assert loss.tolist() == [2, 4]
    assert list(diagnostics) == ["mine"]
    with pytest.raises(ConfigError, match=r"returned shape \(\); return a term for each action"):
        policy_objective(logprobs, None, batch, Objective(policy_loss="their_policy:mean"))


# Against verl

AGGREGATE = {"token_mean": "token-mean", "sequence_mean": "seq-mean-token-mean", "constant": "seq-mean-token-sum-norm"}


@settings(max_examples=40, deadline=None)
@given(
    LENGTHS,
    SEEDS,
    st.sampled_from(["ppo_clip", "gspo", "cispo", "reinforce"]),
    st.sampled_from(NORMALISE),
    st.sampled_from([(0.2, 0.2), (0.2, 0.28), (0.05, 0.4)]),
    st.sampled_from([None, 1.5]),
)
def test_same_as_verl(actions, seed: int, name: str, normalise, clip: tuple[float, float], cap: float | None):
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    from verl.workers.config import ActorConfig

    batch, constant = random_batch(seed, actions), 17
    config = ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_mini_batch_size=1, ppo_micro_batch_size_per_gpu=1,
        clip_ratio=clip[0], clip_ratio_low=clip[0], clip_ratio_high=clip[1], clip_ratio_c=1.3,
    )  # fmt: skip
    if normalise == "constant":
        config.global_batch_info["loss_scale_factor"] = constant
    logprobs = (batch.old_A + 0.4 * batch.returns_A).requires_grad_()
    knobs = Objective(
        policy_loss=name, clip_low=clip[0], clip_high=clip[1],
        dual_clip=1.3 if name == "ppo_clip" else None, importance_cap=cap,
    )  # fmt: skip
    loss, diagnostics = policy_objective(logprobs, None, batch, knobs)
    ours = (loss * action_weights(batch.actions_N, normalise, constant)).sum()
    weights = (batch.old_A - batch.rollout_logprobs_A).exp().clamp(max=cap) if cap else None
    their_loss = {
        "ppo_clip": core.compute_policy_loss_vanilla, "gspo": core.compute_policy_loss_gspo,
        "cispo": core.compute_policy_loss_cispo, "reinforce": core.compute_policy_loss_reinforce,
    }[name]  # fmt: skip
    theirs, metrics = their_loss(
        padded(batch.old_A, batch), padded(logprobs, batch), padded(batch.advantages_A, batch), mask(batch),
        AGGREGATE[normalise], config, None if weights is None else padded(weights, batch),
    )  # fmt: skip
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    ours_gradient, their_gradient = (torch.autograd.grad(x, logprobs)[0] for x in (ours, theirs))
    torch.testing.assert_close(ours_gradient, their_gradient, rtol=0, atol=1e-6)
    if name != "reinforce":  # verl counts the dual clip apart
        fraction = metrics["actor/pg_clipfrac"] + metrics["actor/pg_clipfrac_lower"]
        assert float(diagnostics["clipped"].mean()) == pytest.approx(fraction, abs=1e-6)


# Normalisation is global


def step(
    batch: Batch, theta: Tensor, knobs: Objective, parts: list[list[int]], weights: Tensor
) -> tuple[float, Tensor]:
    """Loss and gradient of one optimiser step cut into micro-batches: gradients accumulate as a trainer's do."""
    theta, total = theta.clone().requires_grad_(), 0.0
    for part in parts:
        micro, rows = take(batch, part)
        logprobs = -(theta[rows] ** 2) * theta.sum().cos()  # every action depends on every parameter
        loss, _ = policy_objective(logprobs, theta[rows].exp(), micro, knobs)
        loss = (loss * weights[rows]).sum()
        loss.backward()
        total += loss.item()
    assert theta.grad is not None
    return total, theta.grad


CORRECTIONS = [
    Importance(level, low, high, outside)
    for level, outside in [
        ("token", "clip"),
        ("token", "mask"),
        ("sequence", "clip"),
        ("sequence", "mask"),
        ("geometric", "mask"),
    ]
    for low, high in [(0.0, 1.5), (0.8, 1.3), (0.8, None)]
]


@pytest.mark.parametrize("normalise", NORMALISE)
@pytest.mark.parametrize("name", POLICY_LOSSES)
@settings(max_examples=20, deadline=None)
@given(
    actions=LENGTHS,
    seed=SEEDS,
    on_policy=st.booleans(),
    random=st.randoms(use_true_random=False),
    correction=st.sampled_from(CORRECTIONS),
)
def test_micro_batches_in_any_order_give_the_same_loss_and_gradient(
    name, normalise, actions, seed, on_policy, random, correction
):
    batch, order = random_batch(seed, actions), list(range(len(actions)))
    theta = torch.rand(sum(actions), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if on_policy:
        batch = replace(batch, _old_A=None)
    knobs = Objective(
        policy_loss=name, kl_coef=0.3, kl_in="loss", kl_estimator="k3", entropy_coef=0.2,
        dual_clip=3.0 if name == "ppo_clip" else None,
    )  # fmt: skip
    if name != "nll":
        knobs = replace(knobs, importance=correction)
    weights = action_weights(batch.actions_N, normalise, constant=16)
    whole = step(batch, theta, knobs, [order], weights)
    random.shuffle(order)
    cuts = sorted({0, len(order), *(random.randrange(len(order)) for _ in range(2))})
    parts = [order[a:b] for a, b in pairwise(cuts)]
    loss, gradient = step(batch, theta, knobs, parts, weights)
    assert loss == pytest.approx(whole[0], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(gradient, whole[1], rtol=1e-9, atol=1e-9)


def test_a_mean_of_means_would_fail_the_test_above():
    """The trap that global weights avoid: micro-batches averaged on their own weigh the actions of short ones more."""
    batch, knobs = ragged([1, 3], advantages=[1, 2, 2, 2]), Objective(policy_loss="reinforce")

    def own_mean(part: list[int]) -> float:
        micro, rows = take(batch, part)
        return float(policy_objective(torch.full((len(rows),), -1.0), None, micro, knobs)[0].mean())

    assert (own_mean([0]) + own_mean([1])) / 2 == 1.5
    assert own_mean([0, 1]) == 1.75
