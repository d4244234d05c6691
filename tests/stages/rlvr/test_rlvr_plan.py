"""The plan of rlvr counts the passes that its loop takes."""

from __future__ import annotations

from typing import Any

import pytest

from rl.stages.rlvr.config import Config
from rl.stages.rlvr.plan import plan
from rl.stages.workload import Work
from rl.workers.trainer_config import TrainerConfig


def forwards(**settings: Any) -> int:
    config = Config("words", **settings)
    return plan(config, Work("rlvr", "rlvr", config, TrainerConfig(), rows=100, epoch=100)).forwards


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({"algorithm": "grpo"}, 0),  # a single update gives the old logprobs itself
        ({"algorithm": "grpo", "minibatches": 2}, 1),
        ({"algorithm": "grpo", "objective": {"kl_coef": 0.04}}, 1),  # the reference's
        ({"algorithm": "ppo"}, 1),  # the critic's values
        ({"algorithm": "ppo", "objective": {"kl_coef": 0.01}}, 3),  # KL in the reward wants the old logprobs first
    ],
)
def test_every_pass_beside_the_updates_is_planned(settings: dict[str, Any], passes: int) -> None:
    assert forwards(**settings) == passes
