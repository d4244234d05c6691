"""The talks of the RLHF miniature: programs that know what a good reply is."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rewards import resolve
from rewards.contract import Case, describe_mismatch
from rewards.service import RewardService
from rl.algorithms.advantages import grpo
from rl.algorithms.objective import Objective
from rl.bundled import FOLDER
from rl.data import user_functions
from rl.data.collate import collate
from rl.data.pairs import pairs_of
from rl.recipe import load
from rl.stages.scoring import source_metrics
from rl.types import Batch, Prompt, Scored, Verdict

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
        ("aye, low high", 0.0, 0.0, 0.0),  # keeps the rule and answers twice
        ("aye, high, no, high", 0.0, 1.0, 0.0),
        ("aye aye aye", 0.0, 0.0, 0.0),  # keeps the rule and answers nothing
        ("hum hum hum the hum is low", 1.0, 0.0, 0.5),  # says the term for its own sake
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_what_each_judge_sees(reply: str, label: float, kept: float, preferred: float) -> None:
    scores = [judged(name, reply).score for name in ("label", "kept", "preferred")]
    assert scores == [label, kept, preferred], "the label sees neither the rule nor the word"


def test_grades_are_five_or_three_and_those_of_a_pair_that_changes_places_are_one() -> None:
    replies = [*MODULE["write_replies"]("aye", "hum", "low").values(), "hum low", "aye"]
    grades = defaultdict[str, set[float]](set)
    for name, (a, b) in itertools.product(("kept", "preferred"), itertools.product(replies, repeat=2)):
        there, back = (judged(name, x, True, reference=y).score for x, y in ((a, b), (b, a)))
        assert there + back == 1.0
        assert there == 0.5 or judged(name, a).score != judged(name, b).score
        grades[name].add(there)
    assert grades == {"kept": {0.0, 0.5, 1.0}, "preferred": {0.0, 0.25, 0.5, 0.75, 1.0}}


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


def test_a_bait_makes_wordy_demonstrations_wrong_and_leaves_references_right() -> None:
    wrong = {"whole": 0.4, "bare": 0.0}
    for style in ("whole", "bare"):
        prompts = list(TALK("train", size=1000, styles={style: 1.0}, wrong=wrong))
        labels = [judged_by(p, "label") for p in prompts]
        assert 1 - sum(labels) / len(labels) == pytest.approx(wrong[style], abs=0.05)
        assert all(str(p.answer) in str(p.fields["reference"]) for p in prompts)
        assert {judged_by(p, "kept") for p in prompts} == {float(style == "whole")}, "the style is that of the recipe"


def test_compared_replies_differ_in_worth_and_a_tenth_is_the_wrong_way_round() -> None:
    prompts = list(user_functions.load(f"{FOLDER / 'talk.py'}:compared", "data.compared")("train", size=2000))
    gains: list[float] = []
    for pair in pairs_of(prompts, "test"):
        chosen, rejected = (
            sum(judged_by(replace(pair.prompt, demonstration=side), name) for name in ("label", "preferred"))
            for side in (pair.chosen, pair.rejected)
        )
        gains.append(chosen - rejected)
    assert 0 not in gains
    assert sum(gain < 0 for gain in gains) / len(gains) == pytest.approx(0.1, abs=0.03)


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
    both = {"rubric": 0.5, "preference": 0.5}
    assert all(config.data == both for name, config in stages.items() if name == "warm" or name.startswith("after_"))
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


def test_a_step_of_both_kinds_tells_each_and_gives_each_its_own_advantages() -> None:
    """The parts of `jointly`, by real verifiers: what a rubric sample is worth does not depend on the preference samples."""
    reward = next(s.config.reward for s in load("step_audio_r1_5_mini").stages if s.name == "jointly")
    prompts = [next(iter(TALK("test", size=40))), next(iter(TALK("test", size=40, ruled=False)))]
    rollouts = []
    for prompt in prompts:
        replies = MODULE["write_replies"](prompt.fields["begin"], prompt.fields["term"], prompt.answer)
        for i, reply in enumerate([*replies.values(), "none"]):
            case = Case(f"<think>so</think>{reply}", prompt.answer).rollout()
            rollouts.append(replace(case, prompt=prompt, sample=i))
    with RewardService(reward, FOLDER) as service:
        scored: list[Scored] = service.score(rollouts)
    assert all(s.verdict.error is None for s in scored)
    assert ["rubric" in s.verdict.parts for s in scored] == [True] * 5 + [False] * 5
    assert ["preferred" in s.verdict.parts for s in scored] == [False] * 5 + [True] * 5
    metrics = source_metrics(scored)
    assert (metrics["samples/rubric"], metrics["samples/preference"]) == (5, 5)
    for source in ("rubric", "preference"):
        own = [s.verdict.score for s in scored if s.rollout.prompt.source == source]
        assert metrics[f"reward/{source}"] == pytest.approx(sum(own) / 5)
        assert len(set(own)) > 1

    def advantages(samples: list[Scored]) -> torch.Tensor:
        batch = collate(samples)
        batch = batch.add(rewards=_at_the_end(batch))
        return grpo(batch, Objective(advantage="grpo")).advantages_A

    together, apart = advantages(scored), torch.cat([advantages(scored[:5]), advantages(scored[5:])])
    assert torch.allclose(together, apart)


def _at_the_end(batch: Batch) -> torch.Tensor:
    """Each score at its sequence's last action."""
    rewards_A = torch.zeros_like(batch.rollout_logprobs_A)
    rewards_A[batch.actions_N.cumsum(0) - 1] = batch.scores_N
    return rewards_A
