"""Votes, and chains that go on behind their cut, by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from models.tokenizer import byte_tokenizer
from rewards.combine import PartConfig, combine
from rewards.contract import Case
from rewards.verifiers import choice, text
from rl.data.chat import Chat
from rl.stages.budgets import Questions, budget_curve, majority, refuse_second_chain, second_chain_rate
from rl.stages.evaluate import Config
from rl.types import Message, Prompt, Rollout, Scored, Verdict

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


CHAT = Chat(byte_tokenizer())
PROMPTS = [Prompt(id, (Message("user", "3+4"),), "7") for id in ("answers", "is_short", "thinks_on")]
WHOLE = {"answers": "3 and 4 make 7</think>7", "is_short": "7</think>7", "thinks_on": "3 and 4 make 7</think>7"}
BEHIND_A_CUT = {"answers": "8", "thinks_on": "3 and 4 make 7</think>7"}


def written_by(prompt: Prompt, opening: Sequence[int], said: str) -> Rollout:
    """Return a sample that went on from an opening, which it did not write."""
    ids = CHAT.tokenizer.encode(said, add_special_tokens=False)
    before = [*CHAT.prompt(prompt.messages), *opening]
    mask = np.array([False] * len(before) + [True] * len(ids))
    logprobs = np.zeros(len(ids), dtype=np.float32)
    return Rollout(prompt, 0, np.array([*before, *ids]), mask, logprobs, "stop", 0, CHAT.turn([*opening, *ids]))


@dataclass
class Writer:
    """A model that says what is written here behind a chain that was cut."""

    chat: Chat

    def generate(
        self, prompts: Sequence[Prompt], skip: set[Any], openings: Mapping[Any, Sequence[int]], **_: Any
    ) -> Iterator[list[Rollout]]:
        for prompt in prompts:
            if (prompt.id, 0) not in skip:
                yield [written_by(prompt, openings[prompt.id, 0], BEHIND_A_CUT[prompt.id])]


class Judge:
    """The verifier `text`, without a service."""

    def collect(self, stream: Iterable[list[Rollout]]) -> list[Scored]:
        return [
            Scored(r, combine([(PartConfig("text"), text.verify(r.prompt, r))], r.prompt)) for rs in stream for r in rs
        ]


def test_an_answer_that_thought_on_behind_the_cut_is_not_right() -> None:
    samples = Judge().collect([[written_by(p, (), WHOLE[p.id])] for p in PROMPTS])
    config: Any = Config(data="", samples=1, temperature=1.0, max_sequence_tokens=200)
    questions = Questions(config, PROMPTS, Writer(CHAT), Judge(), 0)  # pyright: ignore[reportArgumentType]
    metrics = budget_curve(questions, [2, "full"], 0, samples)
    assert metrics["accuracy@full"] == 1.0
    # One is within the budget, one answers wrongly, and one would be right by the rest of its chain.
    assert metrics["accuracy@2"] == pytest.approx(1 / 3)
    assert metrics["second_chain@2"] == pytest.approx(1 / 3)
    assert "second_chain@full" not in metrics


@pytest.mark.parametrize(("spare", "is_asked"), [(0, False), (1, True)])
def test_a_cut_that_leaves_no_room_for_an_answer_is_not_asked_about(spare: int, is_asked: bool) -> None:
    """The limit ends the sample where the budget would have cut it; engines have nothing to write there."""
    prompt, chain = PROMPTS[0], "3 and 4 make 7, or do they"
    (sample,) = Judge().collect([[written_by(prompt, (), chain)]])
    limit = len(CHAT.prompt(prompt.messages)) + 20 + len(CHAT.closing) + spare
    config: Any = Config(data="", samples=1, temperature=1.0, max_sequence_tokens=limit)
    questions = Questions(config, [prompt], Writer(CHAT), Judge(), 0)  # pyright: ignore[reportArgumentType]
    (answered,) = questions.answer_within(20, [sample])
    assert (answered.rollout.response == "8") is is_asked
    assert (answered is sample) is not is_asked


def test_who_thought_on_has_no_vote() -> None:
    right, wrong = (replace(judged(text, said, "7"), rollout=Case(said, "7").rollout()) for said in ("7", "8"))
    refused = [
        refuse_second_chain(replace(right, rollout=replace(right.rollout, sample=i)), "3 and 4 make 7</think>7")
        for i in range(2)
    ]
    assert majority([right, right, *refused, wrong]), "those that kept the budget decide"
    assert not majority(refused), "and where none did, nothing is right"


def test_a_sample_without_a_verdict_stays_without_one() -> None:
    broken = replace(judged(text, "7", "7"), verdict=Verdict(error="crashed"))
    assert refuse_second_chain(broken, "</think>7") is broken
    assert second_chain_rate([broken]) == 0.0
