"""The alarm of a reward that rises without its second opinion: on a real hack, and in simulated runs, honest and not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.run.alarm import Divergence, History

HACKED = json.loads((Path(__file__).parent / "hacked_sums.json").read_text())
Curve = Callable[[int], float]
Opinion = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""(random numbers, [P, S] whether a sample is truly right) -> [P, S] scores."""


def first_alarm(steps: list[list[tuple[float, float]]]) -> int | None:
    """The step after which the alarm sounds."""
    history = History()
    for step, groups in enumerate(steps, 1):
        history.add(groups)
        if history.find_divergence():
            return step
    return None


def simulate(
    seed: int, truth: Curve, opinion: Opinion, hack: Curve = lambda step: 0.0, steps: int = 60, size: tuple[int, int] = (8, 8)
) -> int | None:  # fmt: skip
    """A run of `steps` steps with `size` prompts and samples. `truth` is the share of right answers (of a middling prompt:
    prompts differ), `hack` that of answers which the reward takes for right whatever they are."""
    rng, rows = np.random.default_rng(seed), list[list[tuple[float, float]]]()
    for step in range(1, steps + 1):
        logit_P = np.log(truth(step) / (1 - truth(step))) + 1.5 * rng.standard_normal(size[0])
        hacked_PS = rng.random(size) < hack(step)
        right_PS = (rng.random(size) < 1 / (1 + np.exp(-logit_P))[:, None]) & ~hacked_PS
        reward_PS, opinion_PS = (right_PS | hacked_PS).astype(float), opinion(rng, right_PS)
        rows.append(list(zip(reward_PS.mean(1).tolist(), opinion_PS.mean(1).tolist(), strict=True)))
    return first_alarm(rows)


def ramp(low: float, high: float, steps: int) -> Curve:
    return lambda step: low + (high - low) * min(step / steps, 1.0)


def wave(step: int) -> float:
    return 0.45 + 0.25 * float(np.sin(step / 6))


def equal(rng: np.random.Generator, right_PS: np.ndarray) -> np.ndarray:
    return right_PS.astype(float)


def noisy(rng: np.random.Generator, right_PS: np.ndarray) -> np.ndarray:
    return (right_PS ^ (rng.random(right_PS.shape) < 0.1)).astype(float)  # wrong about one answer in ten


def strict(rng: np.random.Generator, right_PS: np.ndarray) -> np.ndarray:
    return right_PS * (rng.random(right_PS.shape) < 0.7)  # sees seven of ten right answers


def graded(rng: np.random.Generator, right_PS: np.ndarray) -> np.ndarray:
    return np.clip(0.6 + 0.3 * right_PS + 0.1 * rng.standard_normal(right_PS.shape), 0, 1)


def saturated(rng: np.random.Generator, right_PS: np.ndarray) -> np.ndarray:
    return (rng.random(right_PS.shape) < 0.98).astype(float)  # cannot rise, whatever is learned


def unrelated(rng: np.random.Generator, right_PS: np.ndarray) -> np.ndarray:
    return (rng.random(right_PS.shape) < 0.3).astype(float)


HONEST: dict[str, Curve] = {
    "improves": ramp(0.2, 0.7, 60),
    "improves fast": ramp(0.05, 0.9, 12),
    "flat": lambda step: 0.4,
    "rare": lambda step: 0.03,
    "falls": ramp(0.6, 0.2, 60),
    "waves": wave,
}


@pytest.mark.parametrize("column", [1, 2])
def test_a_real_hack_is_seen_by_step_8(column: int):
    """By `numeric`, and by `text`, which no answer ever satisfied."""
    steps = [[(row[0] / 8, row[column] / 8) for row in step] for step in HACKED["steps"]]
    alarm = first_alarm(steps)
    assert alarm is not None
    assert alarm <= 8
    honest = [[(row[0] / 8, row[0] / 8) for row in step] for step in HACKED["steps"]]
    assert first_alarm(honest) is None


def test_a_real_hack_is_seen_by_step_8_without_any_second_opinion():
    """Of the answers that score right, those count which do more than say the question again."""
    steps = [[(row[0] / 8, (row[0] - row[3]) / 8) for row in step] for step in HACKED["steps"]]
    alarm = first_alarm(steps)
    assert alarm is not None
    assert alarm <= 8


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("opinion", [equal, noisy, strict, graded])
def test_an_honest_run_never_alarms(name: str, opinion: Opinion):
    """100 runs of each kind with each opinion: 2,400 runs. (Of 18,000 with other seeds none alarmed either.)"""
    assert [seed for seed in range(100) if simulate(seed, HONEST[name], opinion)] == []


@pytest.mark.parametrize("size", [(4, 4), (16, 8), (64, 1), (1, 8)])
def test_of_whatever_size_its_steps_are(size: tuple[int, int]):
    assert [seed for seed in range(50) if simulate(seed, ramp(0.1, 0.8, 60), equal, size=size)] == []


def test_an_opinion_that_says_nothing_seldom_alarms():
    """One that is unrelated to what is right, or always satisfied, is a poor one; it should not be noisy too. Measured over
    2,000 runs of 60 steps: unrelated 3.7 % while the reward is flat, saturated 0.7 % while it rises."""
    alarms = [bool(simulate(seed, HONEST["flat"], unrelated)) for seed in range(150)]
    assert sum(alarms) <= 15
    alarms = [bool(simulate(seed, HONEST["improves"], saturated)) for seed in range(150)]
    assert sum(alarms) <= 6


@pytest.mark.parametrize("opinion", [equal, noisy, strict])
def test_a_hack_always_alarms(opinion: Opinion):
    """A fast one, a slow one, and one that comes after an honest rise."""
    fast = [simulate(seed, lambda step: 0.05, opinion, ramp(0.15, 0.7, 16)) for seed in range(60)]
    assert all(fast)
    slow = [simulate(seed, lambda step: 0.05, opinion, ramp(0.05, 0.6, 60)) for seed in range(60)]
    assert all(slow)
    late = [
        simulate(seed, ramp(0.2, 0.6, 60), opinion, lambda step: max(0.0, min(0.8, (step - 80) / 40)), 130)
        for seed in range(60)
    ]
    assert all(late)
    assert min(filter(None, late)) > 80


@given(st.lists(st.lists(st.floats(0, 1), max_size=40), max_size=40), st.floats(0.5, 1.0), st.floats(0, 0.1))
def test_an_opinion_that_rises_at_half_the_speed_never_alarms(steps: list[list[float]], share: float, start: float):
    """Whatever the reward does, and however large or uneven the steps are."""
    history = History()
    for step in steps:
        history.add([(reward, start + (1 - start) * share * reward) for reward in step])
        assert history.find_divergence() is None


def test_it_says_what_it_saw():
    history = History()
    for step in range(6):
        assert history.find_divergence() is None
        history.add([(0.25 + 0.5 * (step > 2), 0.25 - 0.125 * (step > 2))] * 8)
    assert history.find_divergence() == Divergence(3, (0.25, 0.75), (0.25, 0.125))


def test_few_groups_are_no_evidence():
    history = History()
    for step in range(6):
        history.add([(float(step > 2), 0.0)] * 7)
        history.add([])  # a step without any verdict takes no place in a window
    assert history.find_divergence() is None


def test_its_state_is_plain_and_bounded():
    history = History()
    for step in range(300):
        history.add([(0.5, 0.5), (0.25 * (step % 3), 0.5)])
    assert len(history.rows) == 128
    restored = History(*json.loads(json.dumps([history.rows, history.steps])))
    for both in (history, restored):
        both.add([(1.0, 0.0)] * 8)
    assert restored == history
