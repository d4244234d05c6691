"""What RLHF with a generative reward model must hold (Step-Audio-R1.5): grades, orders, equal answers, history."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.judge.pairwise import GRADES
from rewards.service import RewardService
from rl.types import AUDIO_PATCH, Clip, Message, Rollout, Verdict

RULE = "From now on begin with aye."
Grader = Callable[[Mapping[str, Any]], str]
"""A judge that is a program: from what it is shown to one of the grades."""


def served(grade: Grader, seen: list[Mapping[str, Any]] | None = None) -> Callable[[Any], list[str]]:
    """The grader in the place of a model that the run serves."""

    def answers(questions: Any) -> list[str]:
        texts: list[str] = []
        for messages, _ in questions:
            material = json.loads(messages[1]["content"])
            if seen is not None:
                seen.append(material)
            seal = messages[0]["content"].partition('"seal": "')[2][:12]
            texts.append(json.dumps({"seal": seal, "why": "by the rule", "grade": grade(material)}))
        return texts

    return answers


def judge(grade: Grader, *samples: Rollout, seen: list[Mapping[str, Any]] | None = None, **args: Any) -> list[Verdict]:
    config = {"served": "critic", "against": "answer", "retries": 0, **args}
    reward = RewardConfig([PartConfig("judge", "preferred", args=config)])
    with RewardService(reward, models={"critic": served(grade, seen)}) as service:
        return [scored.verdict for scored in service.score(samples)]


def reply(text: str, reference: str, *turns: tuple[str, str], clips: tuple[Clip, ...] = ()) -> Rollout:
    sample = Case(text, reference).rollout()
    messages = tuple(Message(*turn) for turn in turns or (("user", "Well?"),))
    return replace(sample, prompt=replace(sample.prompt, messages=messages, clips=clips))


def longer_is_better(material: Mapping[str, Any]) -> str:
    """Five grades by how many words more there are."""
    words = len(material["A"].split()) - len(material["B"].split())
    return GRADES[max(0, min(4, 2 + words))]


def test_five_grades_reach_the_trainer_as_they_are_in_their_order() -> None:
    samples = [reply("word " * count, "one two three") for count in range(1, 6)]
    assert [v.score for v in judge(longer_is_better, *samples)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [v.score for v in judge(longer_is_better, *samples, order="drawn")] == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("grade", ["", "best", "5", "0.5", "a better", "A better.", "equal\n", "A"])
def test_a_grade_that_cannot_be_read_is_an_error_and_no_zero(grade: str) -> None:
    (verdict,) = judge(lambda _: grade, reply("one", "two"))
    assert "not one of B much better" in str(verdict.error)
    assert dict(verdict.parts) == {}


@pytest.mark.parametrize("order", ["both", "drawn"])
def test_answers_that_change_places_share_one_whole_grade(order: str) -> None:
    texts = ["one", "one two", "one two three", "a b c d", "a b c d e"]
    for a in texts:
        for b in texts:
            there, back = judge(longer_is_better, reply(a, b), reply(b, a), order=order)
            assert there.score + back.score == 1.0


def test_a_judge_that_favours_a_place_favours_no_answer_and_is_found_out() -> None:
    def favours_a(material: Mapping[str, Any]) -> str:
        return GRADES[min(4, GRADES.index(longer_is_better(material)) + 1)]

    there, back = judge(favours_a, reply("one two", "one"), reply("one", "one two"))
    for verdict in (there, back):
        assert verdict.parts["preferred/as_a"] > verdict.parts["preferred/as_b"], "the bias is measured"
    assert there.score + back.score == 1.0


@pytest.mark.parametrize("order", ["both", "drawn"])
@pytest.mark.parametrize("grade", GRADES)
def test_the_reference_itself_earns_the_middle_whatever_the_judge_favours(order: str, grade: str) -> None:
    said = [f"answer {i}" for i in range(16)]
    verdicts = judge(lambda _: grade, *(reply(text, text) for text in said), order=order)
    assert [v.score for v in verdicts] == [0.5] * 16
    (chained,) = judge(lambda _: grade, reply("<think>so</think>Paris", "<think>or so</think>Paris"), order=order)
    assert chained.score == 0.5, "chains are not compared"


def test_a_longer_answer_that_says_the_same_gains_no_more_than_the_judge_is_biased() -> None:
    def facts(text: str) -> set[str]:
        return {"low", "high", "aye"} & set(text.lower().replace(",", " ").replace(".", " ").split())

    def by_facts(material: Mapping[str, Any]) -> str:
        return GRADES[2 + (len(facts(material["A"])) > len(facts(material["B"]))) * 2]

    padded = [
        "The hum is low.",
        "Great question! The hum is low, low indeed.",
        "You are so kind. It is low, dear user.",
    ]
    verdicts = judge(by_facts, *(reply(text, "low") for text in padded))
    bias = max(abs(v.parts["preferred/as_a"] - v.parts["preferred/as_b"]) for v in verdicts)
    assert [v.score <= 0.5 + bias for v in verdicts] == [True] * 3


def test_the_first_turn_changes_the_grade_of_the_third() -> None:
    def keeps_the_rule(material: Mapping[str, Any]) -> str:
        rule = any(turn["content"] == RULE for turn in material["conversation"])
        a, b = (material[place].lower().startswith("aye") == rule for place in "AB")
        return "equal" if a == b else "A much better" if a else "B much better"

    seen: list[Mapping[str, Any]] = []
    talk = [
        ("assistant", "Aye."),
        ("user", "And this?"),
        ("assistant", "Aye, a bell."),
        ("user", f"{AUDIO_PATCH} Low?"),
    ]
    ruled, free = (
        reply("aye, it is low", "it is low", ("user", opening), *talk, clips=(Clip("x.wav"),))
        for opening in (RULE, "Hello.")
    )
    verdicts = judge(keeps_the_rule, ruled, free, seen=seen, rubric={"kept": "Every instruction given so far is kept."})
    assert [v.score for v in verdicts] == [1.0, 0.0]
    for material in seen:
        assert [turn["content"] for turn in material["conversation"]][1:] == ["Aye.", "And this?", "Aye, a bell."]
        assert material["question"] == "[audio] Low?"
