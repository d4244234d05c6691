"""Stages, data and environments that a recipe names and that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest

from rl.config import ConfigError
from rl.recipe import load

BASE = {
    "name": "names",
    "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
    "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 60}}},
    "reward": {"parts": [{"verifier": "text"}]},
}


@pytest.mark.parametrize(
    ("stage", "settings", "problem"),
    [
        ("evaluate", {"budgets": [4]}, "evaluate.budgets: chains cannot be cut where an environment answers"),
        ("evaluate", {"pace": {}}, "evaluate.pace: chains cannot be cut where an environment answers"),
        ("sft", {"prune": {}}, "sft.prune: chains cannot be cut where an environment answers"),
        ("pairs", {}, "pairs: pairs are answers of one turn"),
    ],
)
def test_what_has_no_sense_with_an_environment_is_refused(stage: str, settings: dict[str, Any], problem: str) -> None:
    recipe = {**BASE, "environment": "calculator", "stages": [{stage: {"data": "words", **settings}}]}
    with pytest.raises(ConfigError, match=problem):
        load(recipe)


def test_an_environment_that_nobody_asks_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing asks it"):
        load({**BASE, "environment": "calculator", "stages": [{"encode": {"data": "words"}}]})


def test_an_evaluation_on_the_way_is_not_paced() -> None:
    stage = {"rlvr": {"data": "words", "steps": 1, "eval_every": 1, "eval": {"data": "words", "pace": {}}}}
    with pytest.raises(ConfigError, match=r"eval\.pace: only an evaluate stage"):
        load({**BASE, "stages": [stage]})
