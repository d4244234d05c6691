from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ragged import LENGTHS, SEEDS, flat, mask, padded, ragged, random_batch, take
from torch.utils._python_dispatch import TorchDispatchMode

from rl.algorithms.advantages import (
    ADVANTAGES,
    GROUP_ADVANTAGES,
    discounted_sum,
    estimate,
    gae_advantages,
    group_statistics,
    grpo_advantages,
    overlong_penalty,
    rloo_advantages,
    token_rewards,
    whiten,
)
from rl.algorithms.objective import Objective
from rl.algorithms.presets import objective
from rl.config import ConfigError


def t(*x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


# By hand


def test_discounted_sum():
    y = discounted_sum(t(1, 2, 4, 8, 1, 1), torch.tensor([4, 2]), 0.5)
    assert y.tolist() == [1 + 1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8, 1.5, 1]


def test_gae_by_hand():
    rewards, values, actions = t(0, 0, 1, 1), t(0.5, 0.25, 0.75, 0.5), torch.tensor([3, 1])
    advantages, returns = gae_advantages(rewards, values, actions, gamma=1, lam=1)
    assert advantages.tolist() == [0.5, 0.75, 0.25, 0.5]
    assert returns.tolist() == [1, 1, 1, 1]
    # γ = λ = 1/2: δ = (0 + 0.125 - 0.5, 0 + 0.375 - 0.25, 1 - 0.75); each advantage adds a quarter of the next
    advantages, returns = gae_advantages(rewards, values, actions, gamma=0.5, lam=0.5)
    assert advantages.tolist() == [-0.375 + 0.1875 / 4, 0.125 + 0.25 / 4, 0.25, 0.5]
    assert returns.tolist() == [-0.375 + 0.1875 / 4 + 0.5, 0.1875 + 0.25, 1, 1]


def test_groups_by_hand():
    scores, groups = t(1, 0, 0, 0.5, 1), torch.tensor([7, 7, -3, 7, 9])  # a group of three, two of one
    mean, deviation, size = group_statistics(scores, groups)
    assert mean.tolist() == [0.5, 0.5, 0, 0.5, 1]
    assert deviation.tolist() == [0.5, 0.5, 0, 0.5, 0]
    assert size.tolist() == [3, 3, 1, 3, 1]
    assert grpo_advantages(scores, groups).tolist() == pytest.approx([1, -1, 0, 0, 0], abs=3e-6)
    assert grpo_advantages(scores, groups, by_deviation=False).tolist() == [0.5, -0.5, 0, 0, 0]
    assert rloo_advantages(scores, groups).tolist() == pytest.approx([0.75, -0.75, 0, 0, 0])


# A group of three, of four and two actions a sequence, and two groups of which one sample is left.
SURVIVORS = {"actions": [1, 4, 1, 2, 3], "scores": [1, 0, 0, 0.7, -3], "groups": [0, 0, 0, 1, 2]}
LONE = [3, 4]


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
@pytest.mark.parametrize("name", sorted(GROUP_ADVANTAGES))
def test_a_sample_without_peers_has_no_advantage_and_changes_no_others(name: str, kl_coef: float, whiten: bool):
    old = torch.linspace(-3, -1, 11)
    batch = ragged(**SURVIVORS, old=old, ref=old * 1.1)
    knobs = Objective(advantage=name, whiten=whiten, kl_coef=kl_coef)
    advantages = estimate(batch, knobs).advantages_A
    assert advantages[6:].tolist() == [0] * 5, "the lone samples' actions"
    peers, _ = take(batch, [0, 1, 2])
    expected = estimate(peers, knobs).advantages_A
    assert expected.abs().min() > 0
    torch.testing.assert_close(advantages[:6], expected, rtol=1e-12, atol=1e-12)
    lone, _ = take(batch, LONE)
    assert estimate(lone, knobs).advantages_A.tolist() == [0] * 5, "also where nobody has a peer"


def test_the_baseline_form_of_reinforce_pp_by_hand():
    """Centred scores 2/3, -1/3 four times, -1/3: mean -1/6 over six actions, squared distances 25/36 and five of 1/36."""
    advantages = estimate(ragged(**SURVIVORS), objective("reinforce++-baseline", {}, "a")).advantages_A
    deviation = (30 / 36 / 5) ** 0.5
    assert advantages[:6].tolist() == pytest.approx([5 / 6 / deviation, *[-1 / 6 / deviation] * 5], rel=1e-6)


@pytest.mark.parametrize("knobs", [{}, {"gamma": 0.5}, {"whiten": True}, {"gamma": 0.5, "kl_coef": 0.1}])
def test_a_batch_of_one_sample_teaches_reinforce_pp_nothing(knobs):
    batch = ragged([3], scores=[1], old=[-1, -2, -3], ref=[-1, -1, -1])
    estimated = estimate(batch, objective("reinforce++", knobs, "a"))
    assert estimated.advantages_A.tolist() == [0, 0, 0]
    assert estimated.returns_A[-1] != 0


def test_equal_fractional_scores_have_no_advantage():
    """In float32 the mean of equal scores is off by rounding; divided by an equally small deviation that is no noise."""
    scores = torch.full((13,), 0.8 * 0.7 + 0.2 * 0.3, dtype=torch.float32)
    assert grpo_advantages(scores, torch.zeros(13, dtype=torch.int64)).abs().max() < 1e-8


def test_whiten_by_hand():
    assert whiten(t(1, 3)).tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])
    assert whiten(t(4)).tolist() == [0]
    among = torch.tensor([True, False, True])
    assert whiten(t(1, 100, 3), among).tolist() == pytest.approx([-(0.5**0.5), 0, 0.5**0.5])
    assert whiten(t(1, 100), torch.tensor([False, False])).tolist() == [0, 0]


def test_rewards_stand_at_the_last_action():
    batch = ragged([2, 1, 3], scores=[1, 0.5, 0], gaps=[1, 0, 2], old=[-1] * 6, ref=[-1, -2, -1, -1, -1, -0.5])
    assert token_rewards(batch, Objective()).tolist() == [0, 1, 0.5, 0, 0, 0]
    assert token_rewards(batch, Objective(kl_coef=0.1)).tolist() == pytest.approx([0, 0.9, 0.5, 0, 0, 0.05])
    assert token_rewards(batch, Objective(kl_coef=0.1, kl_in="loss")).tolist() == [0, 1, 0.5, 0, 0, 0]
    with pytest.raises(ValueError, match="no 'ref' yet"):
        token_rewards(ragged([1], old=[0]), Objective(kl_coef=0.1))


def test_overlong_penalty_is_dapos_eq_13():
    penalty = overlong_penalty(torch.tensor([1, 16, 17, 18, 20, 25]), max_tokens=20, buffer=4)
    assert penalty.tolist() == [0, 0, -0.25, -0.5, -1, -1]
    with pytest.raises(ConfigError, match="21 tokens do not fit the limit of 20"):
        overlong_penalty(torch.tensor([1]), max_tokens=20, buffer=21)


def test_overlong_counts_prompt_and_response_against_the_limit():
    batch = ragged([6, 8], scores=[1, 1])  # 8 and 10 tokens with the prompts
    rewards = token_rewards(batch, Objective(overlong_buffer=4, overlong_penalty=0.5), max_tokens=10)
    assert rewards[[5, 13]].tolist() == [1 - 0.25, 1 - 0.5]


def test_estimate_adds_all_three_columns():
    batch = ragged([2, 1], scores=[1, 0], values=[0.5, 0.5, 0.5])
    plain = estimate(batch, Objective(whiten=False))
    assert plain.rewards_A.tolist() == [0, 1, 0]
    assert plain.advantages_A.tolist() == [0.5, 0.5, -0.5]
    assert plain.returns_A.tolist() == [1, 1, 0]
    white = estimate(batch, Objective())
    assert white.advantages_A.tolist() == pytest.approx([3**-0.5, 3**-0.5, -2 * 3**-0.5])
    assert white.returns_A.tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="no 'values' yet"):
        estimate(ragged([2, 1]), Objective())


def test_critic_less_returns_are_returns():
    batch = ragged([2, 2], scores=[1, 0], groups=[0, 0])
    for name in ("grpo", "dr_grpo", "rloo", "reinforce++", "reinforce++-baseline"):
        assert estimate(batch, objective(name, {"gamma": 0.5}, "a")).returns_A.tolist() == [0.5, 1, 0, 0]


def test_an_outsiders_estimator(tmp_path, monkeypatch):
    (tmp_path / "outsiders_ones.py").write_text(
        "def ones(batch, objective): return batch.add(advantages=batch.rewards_A * 0 + 1, returns=batch.rewards_A)\n"
        "def nothing(batch, objective): pass\n"
        "def forgot(batch, objective): return batch\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    batch = ragged([2], scores=[1])
    assert estimate(batch, Objective(advantage="outsiders_ones:ones", whiten=False)).advantages_A.tolist() == [1, 1]
    with pytest.raises(ConfigError, match="returned NoneType; return a Batch"):
        estimate(batch, Objective(advantage="outsiders_ones:nothing"))
    with pytest.raises(ValueError, match="no 'advantages' yet"):
        estimate(batch, Objective(advantage="outsiders_ones:forgot", whiten=False))


# Against verl


@st.composite
def batches(draw: st.DrawFn):
    actions = draw(LENGTHS.filter(lambda a: sum(a) > 1))  # verl cannot whiten a single action
    gaps = [draw(st.integers(0, 2)) if a > 1 else 0 for a in actions]
    full = random_batch(draw(SEEDS), actions)
    gapped = ragged(actions, gaps=gaps)
    return replace(full, tokens_T=gapped.tokens_T, lengths_N=gapped.lengths_N, action_mask_T=gapped.action_mask_T)


@settings(max_examples=40, deadline=None)
@given(batches(), st.sampled_from([0.0, 0.1]), st.sampled_from([1.0, 0.9]), st.sampled_from([1.0, 0.95, 0.0]))
def test_same_as_verl(batch, kl_coef: float, gamma: float, lam: float):
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    from verl.trainer.config import AlgoConfig

    def theirs(name: str):
        if name == "gae":
            return core.compute_gae_advantage_return(
                rewards.clone(), padded(batch.values_A, batch), mask(batch), gamma, lam
            )
        if name == "reinforce++":
            config = AlgoConfig(gamma=gamma)
            return core.compute_reinforce_plus_plus_outcome_advantage(rewards.clone(), **shaped, config=config)
        if name == "rloo":
            return core.compute_rloo_outcome_advantage(rewards.clone(), **shaped, index=index)
        if name == "reinforce++-baseline":
            return core.compute_reinforce_plus_plus_baseline_outcome_advantage(rewards.clone(), **shaped, index=index)
        by_std = {"norm_adv_by_std_in_grpo": name == "grpo"}
        return core.compute_grpo_outcome_advantage(rewards.clone(), **shaped, index=index, **by_std)

    whole = batch
    # Groups of one apart: verl gives them their raw score, whitened with the others (see the module's docstring).
    _, _, size = group_statistics(batch.scores_N, batch.groups_N)
    for name in ADVANTAGES:
        if name == "reverse_kl":  # which verl has not: tests/algorithms/test_distillation.py
            continue
        compared = (size > 1).nonzero()[:, 0].tolist() if name in GROUP_ADVANTAGES else range(len(whole))
        if len(compared) < 2 and name != "gae":
            continue
        batch, _ = take(whole, compared)
        rewards = padded(token_rewards(batch, Objective(kl_coef=kl_coef)), batch)
        shaped, index = {"response_mask": mask(batch)}, np.array(batch.groups_N.tolist())
        knobs = Objective(advantage=name, whiten=name == "gae", kl_coef=kl_coef, gamma=gamma, lam=lam)
        ours = estimate(batch, knobs)
        advantages, returns = theirs(name)
        torch.testing.assert_close(ours.advantages_A, flat(advantages, batch), rtol=1e-6, atol=1e-6, msg=name)
        if name in ("gae", "reinforce++"):
            torch.testing.assert_close(ours.returns_A, flat(returns, batch), rtol=1e-6, atol=1e-6, msg=name)


# Properties


@settings(max_examples=40, deadline=None)
@given(LENGTHS, SEEDS, st.sampled_from([0.0, 0.5, 0.99, 1.0]))
def test_discounted_sum_is_the_recurrence(actions: list[int], seed: int, discount: float):
    x = random_batch(seed, actions).advantages_A
    expected = []
    for sequence in x.split(actions):
        for i in range(len(sequence)):
            expected.append(sum(discount**k * float(later) for k, later in enumerate(sequence[i:])))
    assert discounted_sum(x, torch.tensor(actions), discount).tolist() == pytest.approx(expected)


def test_a_nan_stays_in_its_sequence():
    y = discounted_sum(t(1, 1, float("nan"), 1, 1), torch.tensor([2, 1, 2]), 1.0)
    assert y[[0, 1, 3, 4]].tolist() == [2, 1, 2, 1]


@settings(max_examples=30, deadline=None)
@given(LENGTHS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_sequences_does_not_matter(actions: list[int], seed: int, random):
    batch, order = random_batch(seed, actions), list(range(len(actions)))
    random.shuffle(order)
    shuffled, rows = take(batch, order)
    for name in ADVANTAGES:
        knobs = Objective(advantage=name, kl_coef=0.1)
        expected = estimate(batch, knobs).advantages_A[rows]
        torch.testing.assert_close(estimate(shuffled, knobs).advantages_A, expected, rtol=1e-9, atol=1e-9)


class Operations(TorchDispatchMode):
    """Counts the tensor operations under it."""

    dispatched = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.dispatched += 1
        return func(*args, **(kwargs or {}))


def test_float32_agrees_with_float64_and_long_batches_take_few_operations():
    actions = torch.full((16,), 10_240)
    values, rewards = torch.randn(163_840), torch.zeros(163_840)
    rewards[actions.cumsum(0) - 1] = 1.0
    for lam in (1.0, 0.95):
        with Operations() as count:
            advantages, returns = gae_advantages(rewards, values, actions, 1.0, lam)
        assert count.dispatched < 1024, "a scan, not a loop over 10,240 steps"
        exact, exact_returns = gae_advantages(rewards.double(), values.double(), actions, 1.0, lam)
        assert advantages.dtype == torch.float32
        torch.testing.assert_close(advantages.double(), exact, rtol=0, atol=2e-6)
        torch.testing.assert_close(returns.double(), exact_returns, rtol=0, atol=2e-6)
    assert bool((gae_advantages(rewards, values, actions, 1.0, 1.0)[1] == 1).all()), "exact returns at γ = λ = 1"
