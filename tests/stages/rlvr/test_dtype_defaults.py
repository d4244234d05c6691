"""Truncated importance weights are on where the model computes in bfloat16 and its recipe says nothing of them."""

from __future__ import annotations

from typing import Any

import pytest

from rl.algorithms.objective import Importance
from rl.recipe.loader import load
from rl.stages.rlvr.config import Config

RECIPE: dict[str, Any] = {
    "name": "x",
    "reward": {"parts": [{"verifier": "math"}]},
    "data": {"d": {"source": "jsonl", "path": "d.jsonl"}},
}


def stage(dtype: str, rlvr: dict[str, Any]) -> Config:
    model = {"path": "m", "dtype": dtype}
    stages = [{"rlvr": {"data": "d", "samples_per_prompt": 4, **rlvr}}]
    config = load({**RECIPE, "model": model, "stages": stages}, check=False).stages[0].config
    assert isinstance(config, Config)
    return config


@pytest.mark.parametrize("algorithm", ["ppo", "grpo", "dapo", "gspo", "cispo", "dr_grpo"])
def test_bfloat16_weighs_by_importance_and_float32_does_not(algorithm: str) -> None:
    correction = stage("bfloat16", {"algorithm": algorithm}).build_objective().correction
    assert correction == Importance("token", high=2.0, outside="clip")
    assert stage("float32", {"algorithm": algorithm}).build_objective().correction is None


@pytest.mark.parametrize(
    ("rlvr", "correction"),
    [
        ({"algorithm": "icepop"}, Importance(low=0.5, high=5.0, outside="mask")),
        ({"objective": {"importance_cap": None}}, None),
        ({"objective": {"importance": None}}, None),
        ({"algorithm": "icepop", "objective": {"importance": None}}, None),
        ({"objective": {"importance_cap": 5}}, Importance(high=5.0)),
        ({"objective": {"importance": {"level": "sequence", "high": 5}}}, Importance("sequence", high=5.0)),
        ({"algorithm": "grpo", "objective": {"policy_loss": "nll"}}, None),
    ],
)
def test_what_the_recipe_says_stays(rlvr: dict[str, Any], correction: object) -> None:
    config = stage("bfloat16", rlvr)
    assert config.build_objective().correction == correction
    assert config.spares_old_logprobs, "the weights need no pass of their own"
