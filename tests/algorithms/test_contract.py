"""The contract passes what keeps it and names what breaks it, by which factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl.algorithms.advantages import ADVANTAGES
from rl.algorithms.contract import Finding, check, examine
from rl.algorithms.contract_losses import EXTREME
from rl.algorithms.objective import Objective
from rl.algorithms.policy_losses import POLICY_LOSSES, ppo_clip
from rl.algorithms.presets import ALGORITHMS
from rl.config import ConfigError, build
from rl.types import Batch


def broken(kind: Any, function: Callable[..., Any], objective: Objective | None = None) -> dict[str, str]:
    findings: list[Finding] = examine(kind, function, objective or Objective())
    return {finding.clause: finding.detail for finding in findings if finding.state == "FAILS"}


@pytest.mark.parametrize("name", ADVANTAGES)
def test_our_advantages_keep_it(name: str) -> None:
    assert broken("advantage", ADVANTAGES[name]) == {}


@pytest.mark.parametrize("name", POLICY_LOSSES)
@pytest.mark.parametrize("normalise", ["token_mean", "sequence_mean", "constant"])
def test_our_losses_keep_it(name: str, normalise: Any) -> None:
    assert broken("policy_loss", POLICY_LOSSES[name], Objective(normalise=normalise)) == {}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_our_presets_keep_it(name: str) -> None:
    preset = build(Objective, ALGORITHMS[name])
    assert broken("policy_loss", POLICY_LOSSES[preset.policy_loss], preset) == {}


# Losses with one fault each; `ratio` is bounded, so that no other clause is broken.


def ratio(logprobs: torch.Tensor, batch: Batch) -> torch.Tensor:
    return (logprobs - batch.old_logprobs(logprobs)).clamp(-20, 20).exp()


def mean_of_the_micro_batch(logprobs, batch, objective):
    return -ratio(logprobs, batch) * batch.advantages_A / len(logprobs), {}


def whitened_in_the_micro_batch(logprobs, batch, objective):
    a = batch.advantages_A
    return -ratio(logprobs, batch) * (a - a.mean()), {}


def reduced(logprobs, batch, objective):
    return -(ratio(logprobs, batch) * batch.advantages_A).mean(), {}


def with_a_neighbour(logprobs, batch, objective):
    return -ratio(logprobs, batch) * batch.advantages_A.roll(1), {}


def entropy_of_its_own(logprobs, batch, objective):
    return -ratio(logprobs, batch) * batch.advantages_A + 0.01 * logprobs, {}


def by_whole_length(logprobs, batch, objective):
    return -ratio(logprobs, batch) * batch.advantages_A / batch.lengths_N.repeat_interleave(batch.actions_N), {}


def unbounded(logprobs, batch, objective):
    return -(logprobs - batch.old_logprobs(logprobs)).exp() * batch.advantages_A, {}


def detached(logprobs, batch, objective):
    return -ratio(logprobs, batch).detach() * batch.advantages_A, {}


def doubled(logprobs, batch, objective):
    return (-ratio(logprobs, batch) * batch.advantages_A).double(), {}


def in_place(logprobs, batch, objective):
    batch.advantages_A.clamp_(-1, 1)
    return -ratio(logprobs, batch) * batch.advantages_A, {}


def drops_some(logprobs, batch, objective):
    return -ratio(logprobs, batch) * batch.advantages_A * (torch.rand(len(logprobs)) < 0.9), {}


def crashes(logprobs, batch, objective):
    raise KeyError("advantage")


def scalar_metrics(logprobs, batch, objective):
    return -ratio(logprobs, batch) * batch.advantages_A, {"kl": 0.5}


@pytest.mark.parametrize(
    ("loss", "clauses", "says"),
    [
        (mean_of_the_micro_batch, {"cuts"}, "cut in three, the gradient is 3"),
        (whitened_in_the_micro_batch, {"cuts"}, "cut in three, the gradient"),
        (with_a_neighbour, {"cuts"}, "packed in another order"),
        (entropy_of_its_own, {"zero"}, "of the usual one"),
        (by_whole_length, {"mask"}, "with longer prompts, the gradient is 0.2"),
        (unbounded, {"finite"}, f"at a log ratio of +{EXTREME:.0f}"),
        (detached, {"shapes"}, "the terms carry no gradient"),
        (doubled, {"shapes"}, "returns torch.float64 for logprobs of torch.float32"),
        (in_place, {"inputs"}, "changes advantages_A in place"),
        (drops_some, {"cuts", "repeats"}, "called again, the gradient"),
        (scalar_metrics, {"shapes"}, "diagnostic 'kl' is not a tensor of 49 entries"),
    ],
)
def test_a_fault_is_named(loss: Callable[..., Any], clauses: set[str], says: str) -> None:
    found = broken("policy_loss", loss)
    assert clauses <= found.keys()
    assert says in "; ".join(found.values())
    others = found.keys() - clauses
    assert not others or loss is detached, f"blamed without reason: {found}"


def test_a_reduced_or_crashing_loss_is_told_so() -> None:
    assert "return a term for each, not reduced" in broken("policy_loss", reduced)["shapes"]
    assert broken("policy_loss", crashes)["shapes"] == "raises KeyError: 'advantage'"


def test_a_loss_of_whole_sequences_passes() -> None:
    def by_sequence(logprobs, batch, objective):
        rows = torch.arange(len(batch)).repeat_interleave(batch.actions_N)
        gaps = (logprobs - batch.old_logprobs(logprobs)).clamp(-20, 20)
        mean = torch.zeros(len(batch), dtype=gaps.dtype).index_add(0, rows, gaps) / batch.actions_N
        return -(mean.exp()[rows] * batch.advantages_A), {}

    assert broken("policy_loss", by_sequence) == {}


# Advantages with one fault each.


def standardised(batch, objective):
    scores = batch.scores_N.float()
    out = torch.zeros_like(scores)
    for group in batch.groups_N.unique():
        rows = batch.groups_N == group
        out[rows] = (scores[rows] - scores[rows].mean()) / scores[rows].std()
    return batch.add(advantages=out.to(batch.rewards_A.dtype).repeat_interleave(batch.actions_N))


def in_chunks_of_two(batch, objective):
    scores = batch.scores_N.reshape(-1, 2) if len(batch) % 2 == 0 else batch.scores_N[None]
    out = (scores - scores.mean(1, keepdim=True)).flatten()
    return batch.add(advantages=out.repeat_interleave(batch.actions_N))


def by_group_number(batch, objective):
    return batch.add(advantages=(batch.scores_N - batch.groups_N).repeat_interleave(batch.actions_N))


def by_tokens(batch, objective):
    return batch.add(advantages=(batch.scores_N / batch.lengths_N).repeat_interleave(batch.actions_N))


def no_number(batch, objective):
    return batch.add(advantages=torch.full_like(batch.rewards_A, torch.nan))


def bare(batch, objective):
    return batch.scores_N.repeat_interleave(batch.actions_N)


def rewards_in_place(batch, objective):
    return batch.add(advantages=batch.rewards_A.sub_(0.5), returns=batch.rewards_A)


@pytest.mark.parametrize(
    ("estimator", "clause", "says"),
    [
        (standardised, "groups", "with groups of one"),
        (in_chunks_of_two, "order", "with the samples in another order advantages differ by up to"),
        (by_group_number, "order", "with other numbers for the groups"),
        (by_tokens, "mask", "with longer prompts"),
        (no_number, "order", "with the samples in another order advantages differ by up to nan"),
        (no_number, "mask", "with other tokens in the prompts advantages differ by up to nan"),
        (bare, "shapes", "returns Tensor, not a Batch"),
        (rewards_in_place, "inputs", "changes rewards_A in place"),
    ],
)
def test_a_fault_of_an_advantage_is_named(estimator: Callable[..., Any], clause: str, says: str) -> None:
    found = broken("advantage", estimator, Objective(critic=False, whiten=False))
    assert says in found[clause]


def test_a_run_refuses_a_broken_loss_and_may_accept_it(tmp_path, monkeypatch) -> None:
    (tmp_path / "their_mean.py").write_text(
        "def loss(logprobs, batch, objective):\n"
        "    ratio = (logprobs - batch.old_logprobs(logprobs)).clamp(-20, 20).exp()\n"
        "    return -ratio * batch.advantages_A / len(logprobs), {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    objective = Objective(policy_loss="their_mean:loss")
    with pytest.raises(ConfigError) as caught:
        check(objective, "rlvr.objective")
    line = str(caught.value)
    assert line.startswith("rlvr.objective.policy_loss: 'their_mean:loss' breaks `cuts`: cut in three, the gradient is")
    assert line.endswith("or take it as it is with objective.accept: [cuts]")
    check(build(Objective, {"policy_loss": "their_mean:loss", "accept": ["cuts"]}), "rlvr.objective")
    check(Objective(), "rlvr.objective")  # ours are tested here, not before every run


def test_nothing_is_missed_without_a_name_for_it() -> None:
    """Every clause that a trial has is one that can be accepted."""
    from typing import get_args

    from rl.algorithms.objective import Clause

    tried = {f.clause for f in examine("policy_loss", ppo_clip, Objective())}
    tried |= {f.clause for f in examine("advantage", ADVANTAGES["gae"], Objective())}
    assert tried == set(get_args(Clause))
