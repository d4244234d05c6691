"""Step-Audio-R1.5 at full scale, as its report tells it."""

from __future__ import annotations

import pytest

from rewards.verifiers.judge import Config as Judge
from rl.config import build
from rl.planning.plan import plan
from rl.recipe import load


@pytest.fixture(scope="module")
def stages() -> dict[str, object]:
    return {stage.name: stage.config for stage in load("step_audio_r1_5").stages}


def test_its_three_stages_come_in_order(stages: dict[str, object]) -> None:
    assert [name for name in stages if not name.startswith(("base", "after", "listening"))] == [
        "mid_training",
        "cold_start",
        "rlhf",
    ]
    assert set(stages["mid_training"].data) == {"audio_cot", "text_cot"}


def test_rubric_and_preference_samples_are_trained_on_in_one_step_against_a_reference(stages) -> None:
    rlhf = stages["rlhf"]
    assert rlhf.data == {"with_rubric": 0.5, "without_rubric": 0.5}
    objective = rlhf.build_objective()
    assert (rlhf.algorithm, objective.kl_coef > 0) == ("ppo", True)
    assert "reference" in load("step_audio_r1_5").roles
    judges = {part.name: part for part in rlhf.reward.parts if part.verifier == "judge"}
    assert {name: part.when for name, part in judges.items()} == {
        "rubric": {"source": "rubric"},
        "preferred": {"source": "preference"},
    }
    configs = {name: build(Judge, part.args, "judge.args") for name, part in judges.items()}
    assert {name: bool(config.criteria) for name, config in configs.items()} == {"rubric": True, "preferred": False}
    assert all((config.against, config.order) == ({"field": "reference"}, "both") for config in configs.values())
    verifiable = {part.verifier for part in rlhf.reward.parts if part.weight != 0} - {"judge"}
    assert not verifiable, "the report describes no verifiable reward"


@pytest.mark.usefixtures("alone")
def test_it_is_planned_without_its_model_and_its_data() -> None:
    made = plan(load("step_audio_r1_5"))
    assert made.problems
    assert all(": no such file: " in problem and problem.startswith("data.") for problem in made.problems)
    assert [stage.steps for stage in made.stages if stage.kind == "rlvr"] == [200]
    assert {role.role for role in made.roles} == {"engine", "policy", "critic", "reference"}
    assert any("judge http://127.0.0.1:8000/v1" in note and "by rlhf" in note for note in made.notes)
