"""Runs advantages and losses of verl 0.9 on a ragged batch: pads its columns to verl's layout, calls the function, and takes
the result back to one entry for each action.

Shape legend as in `rl.types`: N sequences, A actions of all sequences laid end to end; L the actions of the longest one.
verl's responses also hold tokens that a tool wrote, with 0 in their mask. Here they are left out before padding, which
changes nothing for a function that respects its mask.

What verl reads from its configuration comes from the objective:

| verl | objective |
|---|---|
| `clip_ratio`, `clip_ratio_low` | `clip_low` |
| `clip_ratio_high` | `clip_high` |
| `clip_ratio_c` | `dual_clip`; null is verl's own 3 |
| `gamma`, `lam` | `gamma`, `lam` |
| `loss_agg_mode` | `normalise`, applied by the caller |
| any other | `verl: {dro_beta: 0.1}`, by verl's name; else verl's default |
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from rl.algorithms import verl_source
from rl.algorithms.kl import k3
from rl.algorithms.objective import Objective
from rl.config import ConfigError, did_you_mean
from rl.types import Batch

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

Estimator = Callable[[Batch, Objective], Batch]
if TYPE_CHECKING:
    PolicyLoss = Callable[[Tensor, Batch, Objective], tuple[Tensor, dict[str, Tensor]]]

METRIC_NAMES = {"actor/pg_clipfrac": "clipped"}
"""verl's metrics that have a name here; `actor/ppo_kl` is left out, for `approx_kl` is measured here."""
IS_LIMIT = 20.0  # as in verl, for the ratio that is reported


def estimator(name: str, place: str = "advantage") -> Estimator:
    """Return the advantage `verl/NAME` as a function of a batch. Raises ConfigError where it cannot run here."""
    listing = verl_source.find(name, "advantage", place)

    def estimate(batch: Batch, objective: Objective) -> Batch:
        core = import_core()
        return estimate_with(core.ADV_ESTIMATOR_REGISTRY[listing.name], listing.parameters, batch, objective, place)

    return estimate


def policy_loss(name: str, place: str = "policy_loss") -> PolicyLoss:
    """Return the loss `verl/NAME` as a function that gives a term for each action. Raises ConfigError where it cannot run
    here."""
    listing = verl_source.find(name, "policy_loss", place)

    def loss(logprobs_A: Tensor, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
        core = import_core()
        old_A = batch.old_logprobs(logprobs_A)
        if listing.name == "bypass_mode":  # whose "old" policy is the engine's
            old_A = batch.rollout_logprobs_A
        config = actor_config(objective, place)
        return terms_of(core.POLICY_LOSS_REGISTRY[listing.name], logprobs_A, old_A, batch, config)

    return loss


@cache
def import_core() -> ModuleType:
    """Import verl's algorithms, which takes 16 to 25 seconds, and return the module."""
    import importlib

    return importlib.import_module(verl_source.MODULE)


def estimate_with(
    function: Callable[..., tuple[Tensor, Tensor]],
    parameters: tuple[str, ...],
    batch: Batch,
    objective: Objective,
    place: str,
) -> Batch:
    """Return the batch with the advantages and returns of an estimator with verl's parameters."""
    import torch

    mask_NL = response_mask(batch, batch.rewards_A.dtype)
    arguments: dict[str, object] = {
        "token_level_rewards": pad(batch.rewards_A, mask_NL),
        "response_mask": mask_NL,
        "index": batch.groups_N.cpu().numpy(),
        "gamma": objective.gamma,
        "lam": objective.lam,
        "config": algorithm_config(objective, place),
    }
    if "values" in parameters:
        arguments["values"] = pad(batch.values_A, mask_NL)
    if "old_log_probs" in parameters:
        arguments["old_log_probs"] = pad(batch.old_A, mask_NL)
    # verl's trainer hands this setting on beside the configuration.
    arguments["norm_adv_by_std_in_grpo"] = objective.verl.get("norm_adv_by_std_in_grpo", True)
    with torch.no_grad():
        advantages_NL, returns_NL = function(**{name: arguments[name] for name in parameters if name in arguments})
    dtype = batch.rewards_A.dtype
    return batch.add(
        advantages=flatten(advantages_NL, mask_NL).to(dtype), returns=flatten(returns_NL, mask_NL).to(dtype)
    )


def terms_of(
    function: Callable[..., tuple[Tensor, Mapping[str, float]]],
    logprobs_A: Tensor,
    old_A: Tensor,
    batch: Batch,
    config: object,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return [A] the terms that a loss with verl's parameters sums up, and diagnostics.

    verl's losses return one number. Each multiplies its terms by `rollout_is_weights` before it sums them, so a term is the
    derivative with respect to its weight; that derivative carries the gradient of the logprobs on.
    """
    import torch

    mask_NL = response_mask(batch, logprobs_A.dtype)
    log_prob_NL = pad(logprobs_A, mask_NL)
    # Weights of 1 at actions, which change no value: they are there for the derivative alone.
    weights_NL = mask_NL.clone().requires_grad_()
    # Also for a caller that wants no gradient: without one there are no terms.
    with torch.enable_grad():
        loss, metrics = function(
            old_log_prob=pad(old_A, mask_NL),
            log_prob=log_prob_NL,
            advantages=pad(batch.advantages_A, mask_NL),
            response_mask=mask_NL,
            # The one mean that every loss knows, and some take whatever they are told. `global_batch_size` is 1 in
            # `config`, so a term counts 1 / (actions of its sequence); that is undone below.
            loss_agg_mode="seq-mean-token-mean",
            config=config,
            rollout_is_weights=weights_NL,
        )
        gradients = cast(
            "tuple[Tensor | None, ...]",  # torch leaves None out
            torch.autograd.grad(loss, weights_NL, create_graph=True, allow_unused=True),
        )
        terms_NL = _terms_by_gradient(loss, log_prob_NL, mask_NL) if gradients[0] is None else gradients[0]
    terms_A = flatten(terms_NL * mask_NL.sum(1, keepdim=True), mask_NL)
    return terms_A.to(logprobs_A.dtype), _diagnose(logprobs_A, old_A, metrics)


def _terms_by_gradient(loss: Tensor, log_prob_NL: Tensor, mask_NL: Tensor) -> Tensor:
    """Return [N, L] terms with the loss's gradient and, as value, its mean over sequences: for a loss without weights."""
    import torch

    if not log_prob_NL.requires_grad:
        return torch.zeros_like(log_prob_NL)
    (gradient_NL,) = torch.autograd.grad(loss, log_prob_NL, retain_graph=True)
    # The caller multiplies by the actions of each sequence: every action then has the mean, however it is weighted.
    value_N1 = loss.detach() / len(mask_NL) / mask_NL.sum(1, keepdim=True)
    return value_N1 + gradient_NL.detach() * (log_prob_NL - log_prob_NL.detach())


def _diagnose(logprobs_A: Tensor, old_A: Tensor, metrics: Mapping[str, float]) -> dict[str, Tensor]:
    """Return [A] the ratio, its KL, and verl's metrics, each the same at every action, so that their mean is verl's."""
    logprobs_A = logprobs_A.detach()
    diagnostics = {
        "ratio": (logprobs_A - old_A).clamp(-IS_LIMIT, IS_LIMIT).exp(),
        "approx_kl": k3(old_A, logprobs_A),
    }
    for name, value in metrics.items():
        if name != "actor/ppo_kl":
            label = METRIC_NAMES.get(name, f"verl/{name.removeprefix('actor/')}")
            diagnostics[label] = logprobs_A.new_full(logprobs_A.shape, float(value))
    return diagnostics


# verl's layout


def response_mask(batch: Batch, dtype: Any) -> Tensor:
    """Return [N, L] 1 at each action of a sequence, 0 after its last."""
    actions_N = batch.actions_N
    positions_L = actions_N.new_ones(int(actions_N.max())).cumsum(0) - 1
    return (positions_L < actions_N[:, None]).to(dtype)


def pad(x_A: Tensor, mask_NL: Tensor) -> Tensor:
    """Return [N, L] a column of the batch, with zeros after each sequence; carries the gradient."""
    import torch

    return torch.zeros_like(mask_NL, dtype=x_A.dtype).masked_scatter(mask_NL.bool(), x_A)


def flatten(x_NL: Tensor, mask_NL: Tensor) -> Tensor:
    """Return [A] the entries at actions."""
    return x_NL[mask_NL.bool()]


# verl's configuration


def actor_config(objective: Objective, place: str) -> object:
    """Return the ActorConfig that verl's losses read. Raises ConfigError for a setting that verl does not have."""
    return _actor_config(
        (objective.clip_low, objective.clip_high, objective.dual_clip), json.dumps(objective.verl), place
    )


@cache  # the same for every micro-batch of a run
def _actor_config(clips: tuple[float, float, float | None], extra_json: str, place: str) -> object:
    from verl.trainer.config import AlgoConfig  # pyright: ignore[reportMissingImports]
    from verl.workers.config import ActorConfig, PolicyLossConfig  # pyright: ignore[reportMissingImports]

    def names(config: type) -> set[str]:
        return {f.name for f in dataclasses.fields(cast(Any, config))}

    extra = json.loads(extra_json)
    loss_names = names(PolicyLossConfig)
    all_names = loss_names | {"tau_pos", "tau_neg"} | names(AlgoConfig)
    for name in extra:
        if name not in all_names:
            raise ConfigError(
                f"{place.rpartition('.')[0]}.verl: verl has no '{name}'{did_you_mean(name, all_names)}".lstrip(".")
            )
    low, high, dual = clips
    return ActorConfig(
        # Required by verl and read by no loss.
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio=low,
        clip_ratio_low=low,
        clip_ratio_high=high,
        **({} if dual is None else {"clip_ratio_c": dual}),
        **{name: value for name, value in extra.items() if name in ("tau_pos", "tau_neg")},
        policy_loss=PolicyLossConfig(**{name: value for name, value in extra.items() if name in loss_names}),
        global_batch_info={"dp_size": 1, "global_batch_size": 1},
    )


def algorithm_config(objective: Objective, place: str) -> object:
    """Return the AlgoConfig that verl's estimators read. Raises ConfigError for a setting that verl does not have."""
    actor_config(objective, place)  # which refuses unknown names
    from verl.trainer.config import AlgoConfig  # pyright: ignore[reportMissingImports]

    names = {f.name for f in dataclasses.fields(AlgoConfig)}
    extra = {name: value for name, value in objective.verl.items() if name in names}
    return AlgoConfig(**{"gamma": objective.gamma, "lam": objective.lam, **extra})
