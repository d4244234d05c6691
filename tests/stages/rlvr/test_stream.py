"""Dynamic sampling without engines: which groups are learned from, how much a step of few groups weighs, what is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rewards.combine import PartConfig, RewardConfig
from rl.algorithms.advantages import estimate
from rl.data.collate import collate
from rl.data.mixture import Mixture
from rl.stages.rlvr.config import Config
from rl.stages.rlvr.recorder import truncated_share
from rl.stages.rlvr.stalls import Stalls
from rl.stages.rlvr.stream import SampleStream, whole_session
from rl.stages.scoring import Scorer
from rl.types import Clip, Message, Prompt, RewardSpan, Rollout, Scored, Verdict

TWO_PARTS = RewardConfig([PartConfig("math", weight=0.8), PartConfig("format", "format", 0.2)])
Judge = Callable[[str, int], Verdict]


def verdict(accuracy: float, form: float = 1.0) -> Verdict:
    return Verdict(0.8 * accuracy + 0.2 * form, {"accuracy": accuracy, "format": form})


RIGHT, WRONG, ERROR = verdict(1.0), verdict(0.0), Verdict(error="math: crashed")


class Engines:
    """Answers every prompt with samples of two actions, the last sample of each at the token limit. Samples end in an order
    of chance; the `version` is the test's to move on."""

    def __init__(self, seed: int = 0) -> None:
        self.asked: Counter[str] = Counter()
        self.version = 0
        self.running: list[tuple[Rollout, Callable[[list[Rollout]], None]]] = []
        self.random = Random(seed)

    def start(self, prompts: Sequence[Prompt], samples: int, receive: Any, **_: Any) -> None:
        assert prompts, "engines are not asked for nothing"
        self.asked.update(p.id for p in prompts)
        for p in prompts:
            for i in range(samples):
                tokens, logprobs = np.arange(3), np.zeros(2, np.float32)
                ending = "length" if i == samples - 1 else "stop"
                self.running.append((Rollout(p, i, tokens, tokens > 0, logprobs, ending, self.version, ""), receive))

    def advance(self) -> None:
        assert self.running, "somebody waits for samples that nobody writes"
        rollout, receive = self.running.pop(self.random.randrange(len(self.running)))
        receive([rollout])

    def run_on(self) -> None:
        """Some samples end while the policy learns."""
        for _ in range(self.random.randint(0, len(self.running))):
            self.advance()


class Verdicts:
    """A reward service that judges at once."""

    def __init__(self, judge: Judge, config: RewardConfig) -> None:
        self.judge, self.config = judge, config
        self.judged: list[Scored] = []

    def submit(self, rollout: Rollout) -> None:
        self.judged.append(Scored(rollout, self.judge(rollout.prompt.id, rollout.sample)))

    def take_finished(self, timeout_s: float) -> list[Scored]:
        judged, self.judged = self.judged, []
        return judged

    def check_errors(self) -> None: ...


def stream(
    judge: Judge,
    prompts: int = 40,
    reward: RewardConfig = TWO_PARTS,
    clips: tuple[Clip, ...] = (),
    chance: int = 0,
    **config: Any,
) -> SampleStream:
    """A stage that asks for 4 groups of 2, and whose samples `judge(prompt id, sample)` judges; `chance` is the seed of the
    order in which they end."""
    settings = Config("words", algorithm="dapo", prompts_per_step=4, samples_per_prompt=2, **config)
    items = [Prompt(f"{i:02}", (Message("user", "?"),), clips=clips) for i in range(prompts)]
    context: Any = SimpleNamespace(name="rl", seed=0, cluster=SimpleNamespace(sampler=Engines(chance)))
    rewards: Any = Verdicts(judge, reward)
    return SampleStream(
        settings, context, Mixture({"words": items}, {"words": 1.0}, 0, settings.curriculum), Scorer(rewards)
    )


def alternating(a: Verdict, b: Verdict) -> Judge:
    return lambda _, sample: (a, b)[sample]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (verdict(1.0, 1.0), verdict(1.0, 0.0)),  # right both times, one without the format
        (verdict(0.0, 1.0), verdict(0.0, 0.0)),
        (verdict(1.0, 0.3), verdict(1.0, 0.2)),
        (RIGHT, ERROR),  # one survivor
        (ERROR, ERROR),
    ],
)
def test_groups_that_are_equally_right_are_dropped_whatever_else_differs(a: Verdict, b: Verdict) -> None:
    made = stream(lambda id, i: (a, b)[i] if int(id) % 2 else (RIGHT, WRONG)[i])
    samples = made.take(1)
    assert {int(s.rollout.prompt.id) % 2 for s in samples} == {0}
    assert len(samples) == 8
    assert made.group_share == 1.0
    assert made.dropped_groups == len(made.all_samples) // 2 - 4 > 0
    assert made.loss_scale(samples) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (RIGHT, WRONG),
        (verdict(0.25, 1.0), verdict(0.5, 0.0)),  # equal scores, a different share of the tests passed
        (verdict(0.6), verdict(0.7)),
    ],
)
def test_groups_that_differ_in_accuracy_are_learned_from(a: Verdict, b: Verdict) -> None:
    made = stream(alternating(a, b))
    assert len(made.take(1)) == 8
    assert (len(made.draws), made.dropped_groups) == (1, 0)


HEARD = (Clip("a.wav"),)
ONLY_SCORE = alternating(Verdict(0.1, {"taste": 0.1}), Verdict(0.9, {"taste": 0.9}))
OTHER_SCORE = alternating(Verdict(0.1, {"taste": 0.1, "accuracy": 1.0}), Verdict(0.9, {"taste": 0.9, "accuracy": 1.0}))


@pytest.mark.parametrize(
    ("reward", "judge"),
    [
        (RewardConfig([PartConfig("reward_model", "taste")]), ONLY_SCORE),
        # Watched and not rewarded, and rewarded on other prompts alone.
        (RewardConfig([PartConfig("reward_model", "taste"), PartConfig("math", weight=0.0)]), OTHER_SCORE),
        (RewardConfig([PartConfig("reward_model", "taste"), PartConfig("math", weight={"text": 1})]), ONLY_SCORE),
        (
            RewardConfig([PartConfig("reward_model", "taste"), PartConfig("math", weight={"text": 1, "audio": 0})]),
            OTHER_SCORE,
        ),
    ],
)
def test_without_a_part_for_accuracy_the_score_is_compared(reward: RewardConfig, judge: Judge) -> None:
    assert len(stream(judge, reward=reward, clips=HEARD).take(1)) == 8


def test_an_accuracy_whose_gate_is_closed_is_none() -> None:
    gated = RewardConfig([PartConfig("format", "format", 0.2), PartConfig("math", weight=0.8, only_if="format")])
    closed = Verdict(0.0, {"format": 0.0, "accuracy/counted": 0.0})
    opened = Verdict(0.2, {"format": 1.0, "accuracy": 0.0, "accuracy/counted": 1.0})
    with pytest.raises(ValueError, match="all samples are equally right"):
        stream(alternating(closed, opened), reward=gated).take(1)
    right = Verdict(1.0, {"format": 1.0, "accuracy": 1.0, "accuracy/counted": 1.0})
    assert len(stream(alternating(closed, right), reward=gated).take(1)) == 8


def test_a_step_of_few_groups_weighs_as_much_as_its_groups() -> None:
    made = stream(lambda id, i: (RIGHT, WRONG)[i] if id == "07" else RIGHT, prompts=40)
    samples = made.take(1)
    assert [s.rollout.prompt.id for s in samples] == ["07", "07"]
    assert made.group_share == 0.25
    scale = made.loss_scale(samples)
    assert scale is not None
    assert scale.tolist() == [0.25] * 4
    assert max(made.context.cluster.sampler.asked.values()) == 1


def test_a_full_step_after_one_of_few_weighs_whole_again() -> None:
    learned: list[str] = ["07"]
    made = stream(lambda id, i: (RIGHT, WRONG)[i] if id in learned else RIGHT, prompts=40)
    made.take(1)
    assert made.group_share == 0.25
    learned += [f"{i:02}" for i in range(40)]
    samples = made.take(2)
    assert (made.group_share, made.loss_scale(samples)) == (1.0, None)


def test_truncated_samples_are_left_out_of_the_losses_and_stay_in_the_batch() -> None:
    knobs = {"mask_truncated": True}
    made = stream(lambda id, i: (RIGHT, WRONG)[i] if id in ("07", "08") else RIGHT, objective=knobs)
    samples = made.take(1)
    scale = made.loss_scale(samples)
    assert scale is not None
    assert scale.tolist() == [0.5, 0.5, 0, 0] * 2, "half of the groups, and of each the sample that ended by itself"
    batch = collate(samples).add(scale=scale)
    advantages = estimate(batch, made.objective).advantages_A
    assert advantages.tolist() == pytest.approx([0.5**0.5, 0.5**0.5, -(0.5**0.5), -(0.5**0.5)] * 2, rel=1e-5)
    assert truncated_share(batch) == {"truncated_masked": 0.5, "truncated_masked/sequences": 0.5}
    assert truncated_share(collate(samples)) == {"truncated_masked": 0.0, "truncated_masked/sequences": 0.0}
    unmasked = stream(alternating(RIGHT, WRONG))
    assert unmasked.loss_scale(unmasked.take(1)) is None


@pytest.mark.parametrize(
    ("prompts", "judge", "text"),
    [
        (4, lambda id, i: RIGHT, "40 groups in 10 draws: of 40 all samples are equally right; curate"),
        (
            40,
            lambda id, i: ERROR if int(id) % 2 else WRONG,
            r"40 groups in 10 draws: of 20 all samples are equally right, of 20 none could be judged \(the first: math: "
            r"crashed\); curate",
        ),
        (
            40,
            lambda id, i: ERROR,
            r"no sample of 40 groups in 10 draws could be judged \(the first: math: crashed\); mend",
        ),
    ],
)
def test_a_step_of_no_group_stops_with_what_was_drawn(prompts: int, judge: Judge, text: str) -> None:
    with pytest.raises(ValueError, match=rf"^rlvr 'rl', step 3: (nothing to learn from )?{text}"):
        stream(judge, prompts).take(3)


def test_without_dynamic_sampling_one_draw_is_said_to_be_one() -> None:
    made = stream(lambda id, i: ERROR, objective={"filter_zero_variance": False})
    with pytest.raises(
        ValueError, match=r"step 1: no sample of 4 groups in 1 draw could be judged \(the first: math: cr"
    ):
        made.take(1)
    equal = stream(lambda id, i: RIGHT, objective={"filter_zero_variance": False})
    assert (len(equal.take(1)), len(equal.draws), equal.group_share) == (8, 1, 1.0)


def test_few_groups_are_said_once() -> None:
    stalls = Stalls("rl", 2, 64)
    metrics = {"zero_variance_groups": 0.9, "truncation_rate": 0.0, "reward": 0.9, "group_share": 0.25}
    [text] = stalls.observe(4, metrics)
    assert text.startswith("rlvr 'rl', step 4: dynamic sampling found 25% of the step's groups, ")
    assert "\n" not in text
    assert stalls.observe(5, metrics) == []
    assert stalls.observe(6, {**metrics, "group_share": 1.0}) == []
    [text] = stalls.observe(7, {**metrics, "truncated_masked/sequences": 1.0})
    assert text.startswith(
        "rlvr 'rl', step 7: every sample reached max_sequence_tokens (64) and mask_truncated leaves none"
    )


def test_all_rollouts_of_a_session_are_learned_from_by_its_score() -> None:
    tokens, logprobs = np.arange(3), np.zeros(2, np.float32)
    other = Rollout(Prompt("p", ()), 0, tokens, tokens > 0, logprobs, "stop", 0, "first")
    main = replace(other, text="last", siblings=(other,))
    marked = Verdict(0.5, {"accuracy": 0.5}, spans=(RewardSpan(0, 1, 0.5, "tokens"),))
    samples = whole_session(Scored(main, marked))
    assert [s.rollout.text for s in samples] == ["first", "last"]
    assert [s.verdict.score for s in samples] == [0.5, 0.5]
    assert [len(s.verdict.spans) for s in samples] == [0, 1], "spans are places in the tokens of the last one"
    assert collate(samples).groups_N.tolist() == [0, 0]
