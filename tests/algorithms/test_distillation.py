"""On-policy distillation by hand: the advantage, what it adds up to, and what a recipe may say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ragged import ragged, take

from rl.algorithms import contract
from rl.algorithms.advantages import ADVANTAGES, estimate
from rl.algorithms.objective import Objective
from rl.algorithms.policy_losses import action_weights, policy_objective
from rl.algorithms.presets import columns, objective
from rl.config import ConfigError
from rl.stages.rlvr.config import Config

OPD = objective("opd", {}, "")
LOGS = {"old": [-1.0, -2.0, -0.5], "teacher": [-0.25, -2.0, -3.0]}


def test_the_advantage_is_the_log_ratio_of_each_token() -> None:
    """Neither the score nor a later token has a part in it; what a tool wrote has none of its own."""
    batch = ragged([2, 1], scores=[5.0, -5.0], gaps=[4, 0], **LOGS)
    assert estimate(batch, OPD).advantages_A.tolist() == [0.75, 0.0, -2.5]
    assert estimate(batch, OPD).returns_A.tolist() == [5.0, 5.0, -5.0]


def test_beside_a_reward_it_is_weighted_and_added_after_whitening() -> None:
    batch = ragged([2, 1], scores=[1.0, 0.0], groups=[0, 0], **LOGS)
    alone = estimate(batch, objective("dr_grpo", {}, "")).advantages_A
    both = estimate(batch, objective("dr_grpo", {"teacher_coef": 0.5}, "")).advantages_A
    assert alone.tolist() == [0.5, 0.5, -0.5]
    assert both.tolist() == [0.5 + 0.375, 0.5, -0.5 - 1.25]
    whitened = replace(objective("dr_grpo", {"teacher_coef": 0.5}, ""), whiten=True)
    expected = estimate(batch, replace(whitened, teacher_coef=0.0)).advantages_A + 0.5 * torch.tensor([0.75, 0, -2.5])
    assert torch.allclose(estimate(batch, whitened).advantages_A, expected.double())


@pytest.mark.parametrize("logit", [-3.0, -0.2, 0.0, 1.7])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_its_policy_gradient_is_the_gradient_of_the_reverse_kl(logit: float, temperature: float) -> None:
    """Two tokens, whose expectation is a sum: the gradient of the loss, over tokens drawn from the policy, is autograd's of
    KL(policy || teacher) with both at the rollout's temperature."""
    theta = torch.tensor([logit, 0.3], dtype=torch.float64, requires_grad=True)
    teacher_logs = torch.log_softmax(torch.tensor([1.2, -0.7], dtype=torch.float64) / temperature, -1)
    logs = torch.log_softmax(theta / temperature, -1)
    (exact,) = torch.autograd.grad((logs.exp() * (logs - teacher_logs)).sum(), theta)
    expected = torch.zeros(2, dtype=torch.float64)
    for token in range(2):
        logs = torch.log_softmax(theta / temperature, -1)
        batch = ragged([1], old=logs[token : token + 1].detach(), teacher=teacher_logs[token : token + 1])
        batch = estimate(batch, OPD)
        loss_A, _ = policy_objective(logs[token : token + 1], None, batch, OPD)
        (gradient,) = torch.autograd.grad(loss_A.sum(), theta)
        expected += logs[token].exp().detach() * gradient
    assert torch.allclose(expected, exact, atol=1e-12)


def test_a_policy_that_is_its_teacher_stands_still() -> None:
    batch = ragged([3, 2], old=[-1.0] * 5, teacher=[-1.0] * 5, scores=[1.0, 0.0])
    assert estimate(batch, OPD).advantages_A.tolist() == [0.0] * 5


def test_a_small_policy_becomes_its_teacher() -> None:
    """Two tokens at two states, sampled: after 300 steps the policy is within a hundredth of a nat of the teacher."""
    torch.manual_seed(0)
    teacher = torch.log_softmax(torch.tensor([[2.0, -1.0], [-0.5, 0.5]], dtype=torch.float64), -1)
    theta = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.05)
    for _ in range(300):
        logs = torch.log_softmax(theta, -1)
        tokens = torch.stack([torch.multinomial(row.exp(), 16, replacement=True) for row in logs.detach()])
        policy_A, teacher_A = logs.gather(1, tokens).T.flatten(), teacher.gather(1, tokens).T.flatten()
        batch = estimate(ragged([2] * 16, old=policy_A.detach(), teacher=teacher_A), OPD)
        loss_A, _ = policy_objective(policy_A, None, batch, OPD)
        optimizer.zero_grad()
        (loss_A * action_weights(batch.actions_N, "token_mean")).sum().backward()
        optimizer.step()
    logs = torch.log_softmax(theta.detach(), -1)
    assert float((logs.exp() * (logs - teacher)).sum(-1).max()) < 0.01


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 1], [1]])
def test_it_does_not_depend_on_how_a_step_is_cut(rows: list[int]) -> None:
    draw = torch.Generator().manual_seed(3)
    old, teacher = (torch.randn(9, generator=draw, dtype=torch.float64) - 2 for _ in range(2))
    whole = estimate(ragged([4, 3, 2], old=old, teacher=teacher), OPD)
    part, places = take(whole, rows)
    assert torch.equal(estimate(part, OPD).advantages_A, whole.advantages_A[places])


def test_it_keeps_the_contract() -> None:
    findings = contract.examine("advantage", ADVANTAGES["reverse_kl"], OPD)
    assert {f.clause for f in findings if f.state == "FAILS"} == set(), findings


def test_it_reads_the_policy_before_the_update_and_the_teacher() -> None:
    assert columns(OPD) == {"teacher", "old"}
    assert columns(objective("grpo", {"teacher_coef": 0.1}, "")) == {"teacher", "old"}
    assert columns(objective("grpo", {}, "")) == set()
    with pytest.raises(ValueError, match="the batch has no 'teacher' yet"):
        estimate(ragged([1], old=[0.0]), OPD)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("teacher_coef", -1.0, "teacher_coef: got -1.0; it must not be negative"),
        ("teacher_coef", 0.5, "teacher_coef: got 0.5; reverse_kl is the teacher alone; remove it"),
        ("whiten", True, "whiten: got True; whitened, a policy that agrees with its teacher moves on"),
        ("reward_at", "turns", "reward_at: got turns; reverse_kl reads no reward"),
        ("overlong_buffer", 16, "overlong_buffer: got 16; reverse_kl reads no reward"),
        ("kl_coef", 0.1, "kl_coef: got 0.1; reverse_kl reads no reward"),
        ("filter_zero_variance", True, "filter_zero_variance: got True; reverse_kl reads no reward"),
    ],
)
def test_what_means_nothing_beside_it_is_refused(field: str, value: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        objective("opd", {field: value}, "")


def test_ppo_with_its_name_is_shown_the_algorithm() -> None:
    with pytest.raises(ConfigError, match="algorithm: opd"):
        objective("ppo", {"advantage": "reverse_kl"}, "")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"algorithm": "opd"}, "rlvr.teacher: nobody to learn from; name an earlier stage or the folder of a model"),
        ({"objective": {"teacher_coef": 1.0}}, "rlvr.teacher: nobody to learn from"),
        ({"teacher": "x"}, "rlvr.teacher: advantage 'gae' does not read it; set algorithm: opd, or add objective"),
        (
            {"algorithm": "grpo", "objective": {"advantage": "verl/opo"}, "teacher": "x"},
            "rlvr.teacher: advantage 'verl/opo' does not read it; set algorithm: opd, or add objective",
        ),
        ({"teacher_template": "{question}"}, "rlvr.teacher_template: no teacher to read it"),
        (
            {"algorithm": "opd", "teacher": "x", "teacher_template": "{question!r}"},
            "rlvr.teacher_template: only plain {column} names",
        ),
        ({"algorithm": "opd", "teacher": "x", "teacher_template": "{"}, "rlvr.teacher_template: "),
        ({"algorithm": "opd", "teacher": "x", "teacher_template": " "}, "rlvr.teacher_template: empty; write what"),
    ],
)
def test_a_stage_without_what_it_needs_is_refused(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Config("words", **settings).validate("rlvr")  # type: ignore[arg-type]
    assert str(refusal.value).startswith(text)


def test_a_stage_asks_for_the_teachers_ranks() -> None:
    taught = Config("words", algorithm="opd", teacher="sft")
    taught.validate("rlvr")
    assert taught.roles == {"engine", "policy", "teacher"}
    assert not taught.spares_old_logprobs
    both = Config("words", algorithm="grpo", teacher="sft", objective={"teacher_coef": 0.5, "kl_coef": 0.01})
    both.validate("rlvr")
    assert both.roles == {"engine", "policy", "teacher", "reference"}


def test_opd_is_an_objective_of_one_number_of_samples() -> None:
    """No group is compared, so that a single sample of a prompt teaches."""
    batch = ragged([1], old=[-1.0], teacher=[-2.0])
    assert np.isclose(float(estimate(batch, OPD).advantages_A), -1.0)
    taught = Config("words", algorithm="opd", teacher="sft", samples_per_prompt=1)
    assert taught.problems("rlvr", 1000) == []
    assert isinstance(OPD, Objective)
