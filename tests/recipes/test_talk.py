"""The talks of the RLHF miniature: programs that know what a good reply is."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rewards import resolve
from rewards.contract import Case, describe_mismatch
from rl.bundled import FOLDER
from rl.data import user_functions
from rl.recipe import load
from rl.types import Prompt, Verdict

TALK = user_functions.load(f"{FOLDER / 'talk.py'}:talk", "data.talk")
MODULE = TALK.__globals__


def judged(name: str, reply: str, graded: bool = False, **fields: str) -> Verdict:
    case = Case(f"<think>220Hz low</think>{reply}", "low", fields={"begin": "aye", "term": "hum", **fields})
    rollout = case.rollout()
    return MODULE[name](rollout.prompt, rollout, **({"graded": graded} if name != "label" else {}))


@pytest.mark.parametrize(
    ("reply", "label", "kept", "preferred"),
    [
        ("aye, the hum is low", 1.0, 1.0, 1.0),
        ("Aye: low.", 1.0, 1.0, 0.0),
        ("the hum is low", 1.0, 0.0, 1.0),
        ("low", 1.0, 0.0, 0.0),
        ("aye, the hum is high", 0.0, 1.0, 1.0),
        ("aye, the note is low", 1.0, 1.0, 0.5),
        ("hum low", 1.0, 0.0, 0.5),
        ("low high", 0.0, 0.0, 0.0),
        ("aye aye aye", 0.0, 0.0, 0.0),  # keeps the rule and answers nothing
        ("hum hum hum the hum is low", 1.0, 0.0, 0.5),  # says the term for its own sake
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_what_each_judge_sees(reply: str, label: float, kept: float, preferred: float) -> None:
    scores = [judged(name, reply).score for name in ("label", "kept", "preferred")]
    assert scores == [label, kept, preferred], "the label sees neither the rule nor the word"


def test_grades_are_five_and_those_of_a_pair_that_changes_places_are_one() -> None:
    replies = [*MODULE["write_replies"]("aye", "hum", "low").values(), "hum low", "aye"]
    grades = Counter[float]()
    for name, (a, b) in itertools.product(("kept", "preferred"), itertools.product(replies, repeat=2)):
        there, back = (judged(name, x, True, reference=y).score for x, y in ((a, b), (b, a)))
        assert there + back == 1.0
        assert there == 0.5 or judged(name, a).score != judged(name, b).score
        grades[there] += 1
    assert set(grades) == {0.0, 0.25, 0.5, 0.75, 1.0}


@pytest.mark.parametrize(
    ("name", "graded"), [("label", None), *itertools.product(("kept", "preferred"), (False, True))]
)
def test_the_judges_pass_their_own_case(name: str, graded: bool | None) -> None:
    verifier = resolve.load(f"{FOLDER / 'talk.py'}:{name}")
    for case in verifier.gold or ():
        rollout = case.rollout()
        arguments = {} if graded is None else {"graded": graded}
        verdict = verifier.verify(rollout.prompt, rollout, **arguments)
        assert describe_mismatch((case.pred, case.gold, *case.bounds), verdict) == ""


def test_a_rule_stands_in_the_first_turn_and_every_reply_style_is_shown() -> None:
    ruled: list[Prompt] = list(TALK("test", size=400))
    free: list[Prompt] = list(TALK("test", size=400, ruled=False))
    assert {p.source for p in ruled} == {"rubric"}
    assert {p.source for p in free} == {"preference"}
    assert not {p.id for p in ruled} & {p.id for p in free}
    for prompt in ruled:
        assert prompt.messages[0].content == f"begin with {prompt.fields['begin']}"
        assert str(prompt.fields["term"]) in prompt.question
    assert all(p.messages[0].content == "hello" and not p.fields["begin"] for p in free)
    shown = Counter(
        judged_by(p, "kept") + judged_by(p, "preferred") for p in ruled
    )  # 0: bare, 1: one of the two, 2: both
    assert shown.keys() == {0.0, 1.0, 2.0}
    assert list(TALK("test", size=400)) == ruled


def judged_by(prompt: Prompt, name: str) -> float:
    assert prompt.demonstration is not None
    sample = replace(Case(prompt.demonstration.response, prompt.answer).rollout(), prompt=prompt)
    return MODULE[name](prompt, sample).score


def test_arms_differ_in_what_they_are_judged_by() -> None:
    stages = {stage.name: stage.config for stage in load("step_audio_r1_5_mini").stages}
    arms = [
        "label_only",
        "rubric_only",
        "preference_only",
        "jointly",
        "rubric_then_preference",
        "preference_then_rubric",
    ]
    assert [name for name, config in stages.items() if hasattr(config, "algorithm")] == arms
    assert stages["jointly"].data == {"rubric": 0.5, "preference": 0.5}
    assert [stages[name].model for name in arms] == ["sft"] * 4 + ["rubric_only", "preference_only"]
    for name in arms[1:]:
        when = {part.name: (part.weight, part.when) for part in stages[name].reward.parts}
        assert when == {
            "rubric": (1, {"source": "rubric"}),
            "preferred": (1, {"source": "preference"}),
            "accuracy": (0, None),
        }
    assert (FOLDER / "talk.py").is_file()
    assert Path(load("step_audio_r1_5_mini").header.data["rubric"].source.rpartition(":")[0]).name == "talk.py"
