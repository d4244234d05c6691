"""Repeated blocks: what runs, under which names, and when it is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl.config import ConfigError
from rl.planning.plan import plan
from rl.recipe import load
from rl.recipe.repeat import Until, latest

WORDS = {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 60}}
BLOCK = [
    {"curate": {"data": "words", "limit": 20}},
    {"rlvr": {"data": "words", "difficulty": "curate", "prompts_per_step": 4, "steps": 3}},
    {"evaluate": {"name": "check", "data": "words", "limit": 10}},
]


def recipe(*overrides: str, stages: list[dict[str, Any]] = BLOCK, **block: Any) -> Any:
    values: dict[str, Any] = {
        "name": "blocks",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"words": WORDS},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": [
            {"sft": {"data": "words"}},
            {"repeat": {"times": 2, "stages": stages, **block}},
            {"evaluate": {"name": "after", "data": "words", "model": "rlvr"}},
        ],
    }
    return load(values, overrides)


def test_a_block_is_its_stages_several_times() -> None:
    made = recipe()
    block = ["curate", "rlvr", "check"]
    assert [s.name for s in made.stages] == ["sft", *(f"{n}@{i}" for i in (1, 2) for n in block), "after"]
    assert [s.iteration for s in made.stages] == [0, 1, 1, 1, 2, 2, 2, 0]
    assert made.stages[5].base == "rlvr"
    assert made.stages[5].place == "stages[1].repeat.stages[1].rlvr"
    again = load(made.source, folder=made.folder)
    assert again.stages == made.stages
    assert again.source == made.source


def test_a_change_by_name_is_for_every_iteration() -> None:
    made = recipe("rlvr.steps=5", "repeat.times=3", "repeat.until={metric: check/accuracy}")
    assert [s.config.steps for s in made.stages if s.kind == "rlvr"] == [5, 5, 5]
    assert made.stages[1].repeat is not None
    assert made.stages[1].repeat.until == Until("check/accuracy")


def test_the_plan_has_every_iteration(tmp_path: Path) -> None:
    made = plan(recipe("rlvr.prompts_per_step=80"), tmp_path)
    assert [stage.name for stage in made.stages][3:6] == ["check@1", "curate@2", "rlvr@2"]
    assert sum("prompts_per_step" in problem for problem in made.problems) == 1, "said once, not for every iteration"


def test_a_name_is_its_latest_iteration() -> None:
    made = ["sft", "rlvr@1", "rlvr@2", "after"]
    assert latest("rlvr", made) == "rlvr@2"
    assert latest("rlvr@1", made) == "rlvr@1"
    assert latest("sft", made) == "sft"
    assert latest("curate", made) is None


@pytest.mark.parametrize(
    ("values", "patience", "least", "lower", "ends"),
    [
        ([], 1, 0.0, False, None),
        ([0.5], 1, 0.0, False, None),
        ([0.5, 0.6, 0.7], 1, 0.0, False, None),
        ([0.5, 0.6, 0.6], 1, 0.0, False, 3),
        ([0.5, 0.4, 0.6, 0.5, 0.5], 2, 0.0, False, 5),
        ([0.5, 0.52, 0.6], 1, 0.05, False, 2),
        ([0.5, 0.4, 0.45], 1, 0.0, True, 3),
    ],
)
def test_enough_is_when_nothing_improves(
    values: list[float], patience: int, least: float, lower: bool, ends: int | None
) -> None:
    assert Until("check/accuracy", patience, least, lower).last_iteration(values) == ends


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"times": 0}, r"stages\[1\]\.repeat\.times: must be at least 1; got 0"),
        ({"stages": []}, r"stages\[1\]\.repeat\.stages: expected a list"),
        ({"stages": [{"repeat": {}}]}, r"stages\[1\]\.repeat\.stages\[0\]: expected one stage"),
        ({"stages": [{"sft": {"data": "words"}}]}, r"stages\[0\]\.sft: the name 'sft' is taken by an earlier stage"),
        ({"until": {"metric": "accuracy"}}, "'accuracy' names no stage; write STAGE/METRIC"),
        ({"until": {"metric": "check/acuracy"}}, "'check' has no such metric; did you mean 'accuracy'?"),
        ({"until": {"metric": "curate/loss"}}, "'curate' has no such metric; known: accuracy, kept, prompts, reused"),
        ({"until": {"metric": "sft/loss"}}, "until.metric: no stage 'sft' in the block; known: check, curate, rlvr"),
        ({"until": {"metric": "check/accuracy", "patience": 0}}, "patience must be at least 1"),
    ],
)
def test_mistakes_name_their_place(block: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        recipe(**block)


def test_what_is_made_later_cannot_be_read_in_the_first_iteration() -> None:
    late = [{"evaluate": {"name": "check", "data": "words", "model": "rlvr"}}, BLOCK[1]]
    with pytest.raises(ConfigError, match="'rlvr' is no earlier stage and no folder of a model"):
        recipe(stages=late)
