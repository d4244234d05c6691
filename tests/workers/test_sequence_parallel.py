"""Ranks that share the tokens of each pack: answers, metrics and gradients are those of one rank that has them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_gradient_invariance import STAGES, Gradients, distance

from rl.algorithms.objective import Objective
from rl.algorithms.preference_losses import Preference
from rl.types import Batch
from rl.workers.packing import Unit, micro_batches
from rl.workers.trainer_config import TrainerConfig

GROUPS = [(40, [5, 6, 50]), (7, [30, 3]), (3, [1, 2]), (90, [1])]
"""(tokens of a prompt, tokens of its answers): some share their prompt, and the last micro-batch has a single action."""
OBJECTIVES = {
    "a sequence's ratio": Objective(policy_loss="gspo", normalise="sequence_mean", entropy_coef=0.1),
    "imitation": Objective(advantage="none", policy_loss="nll", critic=False),
}


@pytest.fixture(scope="module")
def batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, 256, (prompt,), generator=draw) for prompt, answers in GROUPS for _ in answers[:1]]
    samples = [
        (i, len(prompts[i]), torch.cat([prompts[i], torch.randint(0, 256, (answer,), generator=draw)]))
        for i, (_, answers) in enumerate(GROUPS)
        for answer in answers
    ]
    lengths_N = torch.tensor([len(tokens_t) for _, _, tokens_t in samples])
    action_mask_T = torch.cat([torch.arange(len(tokens_t)) >= prompt for _, prompt, tokens_t in samples])
    actions = int(action_mask_T.sum())
    columns = {n: torch.randn(actions, generator=draw) for n in ("advantages", "values", "returns")}
    return Batch(
        tokens_T=torch.cat([tokens_t for _, _, tokens_t in samples]),
        lengths_N=lengths_N,
        action_mask_T=action_mask_T,
        rollout_logprobs_A=-2 * torch.rand(actions, generator=draw),
        scores_N=torch.zeros(len(samples)),
        groups_N=torch.tensor([group for group, _, _ in samples]),
    ).add(**columns, old=torch.full((actions,), -5.5) + 0.3 * torch.randn(actions, generator=draw))


def learned(world: Any, batch: Batch, folder: Path, stage: int, sharing: int) -> dict[str, Any]:
    """What a world answers, reports and finds as gradients."""
    rows, options = [range(len(batch))], {**STAGES[stage], "sequence_parallel": sharing}
    found: dict[str, Any] = {}
    policy = world.load("policy", folder, stage, **options)
    found["logprobs"] = policy.logprobs(batch).get()
    gradients = Gradients(world, "policy")
    for name, objective in OBJECTIVES.items():
        # A budget of a rank: shared, the micro-batches hold what two hold alone.
        found[name] = gradients.of(64 // sharing, batch, rows, [0.0], objective, 64)
    gradients.verb = "update_pairs"
    found["pairs"] = gradients.of(64 // sharing, batch.add(ref=batch.old_A), rows, [0.0], Preference(beta=0.2))
    critic = world.load("critic", folder, stage, **options)
    found["values"] = critic.values(batch).get()
    found["critic"] = Gradients(world, "critic").of(64 // sharing, batch, rows, [0.0], 0.5)
    return found


@pytest.fixture(scope="module")
def alone(worlds: Callable[[int], Any], untied: Path, batch: Batch) -> dict[str, Any]:
    return learned(worlds(1), batch, untied, stage=0, sharing=1)


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_learn_what_one_does(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, alone: dict[str, Any], stage: int
) -> None:
    """The model has one head of keys, which both ranks need."""
    shared = learned(worlds(2), batch, untied, stage, sharing=2)
    for name in ("logprobs", "values"):
        torch.testing.assert_close(shared.pop(name), alone[name], rtol=1e-5, atol=1e-6)
    for name, (report, gradient) in shared.items():
        assert report == pytest.approx(alone[name][0], rel=1e-5, abs=1e-6)
        assert distance(gradient, alone[name][1]) <= 1e-5


def test_heads_must_divide(worlds: Callable[[int], Any], tmp_path: Path) -> None:
    from models.load import build
    from models.settings import BuildConfig

    folder = build(BuildConfig(hidden_size=96, layers=1, heads=3), tmp_path / "model", seed=0)
    with pytest.raises(
        ValueError, match=r"^trainer\.sequence_parallel: 2 does not divide the 3 attention heads of the model"
    ):
        worlds(2).load("policy", folder, sequence_parallel=2)


def test_ranks_that_share_get_the_same_rows() -> None:
    """And a budget of tokens for each of them."""
    units = [Unit([i], 100) for i in range(8)]
    plans = micro_batches(units, TrainerConfig(ranks=4, tokens_per_microbatch=100, sequence_parallel=2), ranks=4)
    assert plans[0] == plans[1]
    assert plans[2] == plans[3]
    assert sorted(row for plan in (plans[0], plans[2]) for rows in plan for row in rows) == list(range(8))
    assert [len(rows) for rows in plans[0]] == [2, 2]
