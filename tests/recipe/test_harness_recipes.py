"""Recipes whose rollouts come from a harness: which stages it may play, and where nobody would ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl.config import ConfigError
from rl.planning.environments import describe_environments
from rl.recipe import Recipe, load

SFT, RLVR = {"sft": {"data": "words"}}, {"rlvr": {"data": "words", "max_sequence_tokens": 128}}
EVALUATE = {"evaluate": {"data": "words", "max_sequence_tokens": 128}}


def recipe(folder: Path, *stages: dict[str, Any], harness: str = "agent.py:play") -> Recipe:
    (folder / "agent.py").write_text("async def play(prompt, base_url, api_key, *, port=0):\n    pass\n")
    values: dict[str, Any] = {
        "name": "x",
        "model": {"build": {}},
        "environment": {"harness": harness, "args": {"port": 1}},
        "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 50}}},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": list(stages),
    }
    return load(values, [], folder)


def test_a_harness_plays_the_stages_that_sample(tmp_path: Path) -> None:
    lines, problems = describe_environments(recipe(tmp_path, SFT, RLVR, EVALUATE), None)
    assert (lines, problems) == (["harness agent.py:play, at most 8 questions: in rlvr, evaluate"], [])


@pytest.mark.parametrize(
    ("stages", "text"),
    [
        ([SFT, {"curate": {"data": "words"}}], r"stages\[1\]\.curate: rollouts of a harness are for rlvr and evaluate"),
        ([{"distill": {"data": "words"}}], r"stages\[0\]\.distill: rollouts of a harness"),
        ([SFT], "environment: no stage samples from the model"),
        ([{"rlvr": {**RLVR["rlvr"], "replay": "runs/x", "max_lag": 1}}], r"rlvr\.replay: a harness may ask otherwise"),
        (
            [
                SFT,
                {
                    "rlvr": {
                        **RLVR["rlvr"],
                        "algorithm": "opd",
                        "teacher": "sft",
                        "teacher_template": "{question} {answer}",
                    }
                },
            ],
            r"rlvr\.teacher_template: it stands for the run's prompt",
        ),
        ([{"evaluate": {**EVALUATE["evaluate"], "controls": ["silenced"]}}], r"evaluate\.controls: they change"),
    ],
)
def test_what_a_harness_cannot_play_is_refused(tmp_path: Path, stages: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        recipe(tmp_path, *stages)


def test_a_wrong_argument_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"environment\.harness: .*plai"):
        recipe(tmp_path, RLVR, harness="agent.py:plai")
