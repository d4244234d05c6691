"""verl's advantages and losses give here what they give in verl, and what they lack or break is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ragged import flat, mask, padded, random_batch
from verl.trainer.ppo import core_algos

from rl.algorithms import verl_source
from rl.algorithms.advantages import estimate
from rl.algorithms.contract import examine
from rl.algorithms.objective import Objective
from rl.algorithms.policy_losses import action_weights, find_loss
from rl.algorithms.presets import columns, objective
from rl.algorithms.verl_bridge import actor_config, estimator
from rl.config import ConfigError
from rl.types import Batch

REGISTRIES = verl_source.read_registries("verl")
ADVANTAGES = [name for name, function in REGISTRIES["advantage"].items() if not function.lacks]
LOSSES = [name for name in REGISTRIES["policy_loss"] if name not in ("clip_cov", "geo_mean")]
MODES: dict[str, Any] = {"token_mean": "token-mean", "sequence_mean": "seq-mean-token-mean"}


def test_the_registries_are_read_as_verl_fills_them() -> None:
    assert REGISTRIES["advantage"].keys() == core_algos.ADV_ESTIMATOR_REGISTRY.keys()
    assert REGISTRIES["policy_loss"].keys() == core_algos.POLICY_LOSS_REGISTRY.keys()
    assert len(ADVANTAGES) == 11
    assert len(REGISTRIES["policy_loss"]) == 12


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("normalise", MODES)
def test_a_loss_has_verls_value_and_gradient(name: str, normalise: Any) -> None:
    if verl_source.FIXED_MEANS.get(name, normalise) != normalise:
        return
    settings = Objective(policy_loss=f"verl/{name}", normalise=normalise, verl={"dro_beta": 0.1})
    batch = random_batch(3, [5, 2, 9, 1], groups=[0, 0, 1, 1])
    logprobs = (batch.old_A + 0.2 * torch.randn(17, generator=torch.Generator().manual_seed(1))).requires_grad_()
    config: Any = actor_config(settings, "policy_loss")
    object.__setattr__(config, "global_batch_info", {})  # verl's own means
    old = batch.rollout_logprobs_A if name == "bypass_mode" else batch.old_A
    columns = padded(old, batch), padded(logprobs, batch), padded(batch.advantages_A, batch), mask(batch)
    expected, _ = core_algos.POLICY_LOSS_REGISTRY[name](*columns, MODES[normalise], config)
    by_sequences, _ = core_algos.POLICY_LOSS_REGISTRY[name](*columns, MODES["sequence_mean"], config)
    (gradient,) = torch.autograd.grad(expected, logprobs)
    object.__setattr__(config, "global_batch_info", {"dp_size": 1, "global_batch_size": 1})

    terms, diagnostics = find_loss(f"verl/{name}")(logprobs, batch, settings)
    loss = (terms * action_weights(batch.actions_N, normalise)).sum()
    (found,) = torch.autograd.grad(loss, logprobs)
    assert torch.allclose(found, gradient.to(found.dtype), rtol=1e-5, atol=1e-8)
    if (
        name == "bypass_mode"
    ):  # it multiplies no weights: its terms have their gradient and, as value, the mean over sequences
        expected = by_sequences
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert all(value.shape == logprobs.shape and not value.requires_grad for value in diagnostics.values())


@pytest.mark.parametrize("name", ["gae", "grpo", "rloo", "opo", "gpg", "reinforce_plus_plus", "grpo_passk"])
def test_an_advantage_is_verls(name: str) -> None:
    settings = Objective(advantage=f"verl/{name}", whiten=False, critic=name == "gae", gamma=0.9, lam=0.8)
    batch = random_batch(4, [5, 2, 9, 1], groups=[0, 0, 1, 1])
    batch = Batch(**{f: getattr(batch, f) for f in batch.__slots__ if not f.startswith("_a")})
    found = estimate(batch, settings)
    function = core_algos.ADV_ESTIMATOR_REGISTRY[name]
    rewards = padded(found.rewards_A, found)
    given: dict[str, Any] = {"token_level_rewards": rewards, "response_mask": mask(found).double()}
    if name == "gae":
        given |= {"values": padded(found.values_A, found), "gamma": 0.9, "lam": 0.8}
    else:
        given |= {"index": found.groups_N.numpy(), "config": core_algos.AlgoConfig(gamma=0.9, lam=0.8)}
    advantages, returns = function(**given)
    assert torch.allclose(found.advantages_A, flat(advantages, found), atol=1e-6)
    assert torch.allclose(found.returns_A, flat(returns, found), atol=1e-6)


def broken(kind: Any, name: str) -> dict[str, str]:
    function = estimator(f"verl/{name}") if kind == "advantage" else find_loss(f"verl/{name}")
    settings = Objective(normalise=verl_source.FIXED_MEANS.get(name, "token_mean"), verl={"dro_beta": 0.1})  # type: ignore[arg-type]
    return {f.clause: f.detail for f in examine(kind, function, settings) if f.state == "FAILS"}


def test_the_contract_names_what_verl_breaks() -> None:
    found = {name: broken("policy_loss", name) for name in REGISTRIES["policy_loss"]}
    assert {name for name, clauses in found.items() if clauses} == {"geo_mean", "kl_cov", "clip_cov"}
    assert found["geo_mean"].keys() == {"cuts"}
    assert found["geo_mean"]["cuts"].startswith("cut in three, the gradient is 3.1 times as long")
    assert found["kl_cov"]["cuts"].startswith("cut in three, the gradient differs by 2.4 %")
    assert "draw nothing at random" in found["clip_cov"]["repeats"]
    by_name = {name: broken("advantage", name) for name in ADVANTAGES}
    assert {name for name, clauses in by_name.items() if clauses} == {"grpo_passk"}
    assert "with groups of one it raises ValueError" in by_name["grpo_passk"]["groups"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            {"advantage": "verl/remax"},
            "a.advantage: 'verl/remax' needs reward_baselines (the reward of a greedy answer",
        ),
        (
            {"advantage": "verl/optimal_token_baseline"},
            "a.advantage: 'verl/optimal_token_baseline' needs sum_pi_squared (the",
        ),
        (
            {"advantage": "verl/tir_optimal_token_baseline"},
            "a.advantage: 'verl/tir_optimal_token_baseline' needs sum_pi_sq",
        ),
        ({"advantage": "verl/gpo"}, "a.advantage: verl has no advantage 'gpo'; did you mean '"),
        ({"policy_loss": "verl/sappo"}, "a.policy_loss: verl has no policy_loss 'sappo'; did you mean 'sapo'?"),
        ({"advantage": "verl/gae"}, "a.critic: got False; advantage 'verl/gae' needs values; set critic: true"),
        (
            {"advantage": "verl/opo", "critic": True},
            "a.critic: advantage 'verl/opo' reads no values; set critic: false",
        ),
        (
            {"policy_loss": "verl/sapo", "normalise": "token_mean"},
            "a.normalise: got token_mean; verl computes sapo with one mean only; set normalise: sequence_mean",
        ),
        (
            {"verl": {"dro_beta": 1.0}},
            "a.verl: got {'dro_beta': 1.0}; neither advantage nor policy_loss is verl's; remove",
        ),
        ({"accept": ["cut"]}, "a.accept[0]: 'cut' is not allowed; did you mean 'cuts'?"),
    ],
)
def test_what_cannot_run_is_refused_by_name(overrides: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        objective("grpo", overrides, "a")
    assert str(caught.value).startswith(line)


def test_columns_and_settings() -> None:
    assert columns(objective("grpo", {"policy_loss": "verl/sapo"}, "a")) == frozenset()
    chosen = objective("grpo", {"policy_loss": "verl/vanilla", "clip_low": 0.1, "clip_high": 0.3, "dual_clip": 5}, "a")
    config: Any = actor_config(chosen, "a.policy_loss")
    assert (config.clip_ratio_low, config.clip_ratio_high, config.clip_ratio_c) == (0.1, 0.3, 5)
    plain: Any = actor_config(objective("grpo", {"policy_loss": "verl/vanilla"}, "a"), "a.policy_loss")
    assert plain.clip_ratio_c == 3.0, "verl's own"
    wrong = objective("grpo", {"policy_loss": "verl/dro", "verl": {"dro_bet": 1.0}}, "a")
    with pytest.raises(ConfigError, match=r"^a\.verl: verl has no 'dro_bet'; did you mean 'dro_beta'\?"):
        actor_config(wrong, "a.policy_loss")
