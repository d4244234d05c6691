"""Votes, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rewards.combine import PartConfig, combine
from rewards.contract import Case
from rewards.verifiers import choice, text
from rl.stages.budgets import majority
from rl.types import Scored

SOUNDS = {"options": ["a dog", "a violin", "a cat"]}


def judged(verifier: Any, answer: str, gold: str, **fields: Any) -> Scored:
    """One answer with the verdict that the reward's part `accuracy` gives it."""
    rollout = Case(answer, gold, fields=fields).rollout()
    return Scored(rollout, combine([(PartConfig("any"), verifier.verify(rollout.prompt, rollout))], rollout.prompt))


@pytest.mark.parametrize(("gold", "right"), [("B", True), ("C", False)])
def test_one_option_said_in_three_ways_has_three_votes(gold: str, right: bool) -> None:
    answers = ["B", "(B) a violin", "a violin", "C", "C"]
    assert majority([judged(choice, answer, gold, **SOUNDS) for answer in answers]) is right


def test_what_cannot_be_read_votes_as_it_is_written() -> None:
    unread = ["B or C", "B, C", "A or B", "C", "C"]
    assert [judged(choice, answer, "C", **SOUNDS).verdict.read for answer in unread] == ["", "", "", "C", "C"]
    assert majority([judged(choice, answer, "C", **SOUNDS) for answer in unread])
    assert not majority([judged(choice, answer, "C", **SOUNDS) for answer in ["B or C", "b or c.", "C"]])


def test_of_two_as_common_the_first_wins() -> None:
    four, five = judged(text, "Four.", "four"), judged(text, "five", "four")
    assert majority([four, five, judged(text, "the four", "four"), five])
    assert not majority([five, four])
