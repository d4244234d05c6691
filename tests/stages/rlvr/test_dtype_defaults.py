"""Truncated importance weights are on where the model computes in bfloat16 and its recipe says nothing of them."""

from __future__ import annotations

from typing import Any

import pytest

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
    assert stage("bfloat16", {"algorithm": algorithm}).build_objective().importance_cap == 2.0
    assert stage("float32", {"algorithm": algorithm}).build_objective().importance_cap is None


@pytest.mark.parametrize(
    ("rlvr", "cap"),
    [
        ({"algorithm": "icepop"}, (0.5, 5.0)),
        ({"objective": {"importance_cap": None}}, None),
        ({"objective": {"importance_cap": 5}}, 5.0),
        ({"objective": {"importance_cap": [0.5, 2.0], "importance_level": "sequence"}}, (0.5, 2.0)),
        ({"algorithm": "grpo", "objective": {"policy_loss": "nll"}}, None),
    ],
)
def test_what_the_recipe_says_stays(rlvr: dict[str, Any], cap: object) -> None:
    config = stage("bfloat16", rlvr)
    assert config.build_objective().importance_cap == cap
    assert config.spares_old_logprobs, "the weights need no pass of their own"
