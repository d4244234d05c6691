"""Samples that are drawn ahead, without engines: which are learned from, in which order, how old they are, and what a
checkpoint brings back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stages.rlvr.test_stream import RIGHT, WRONG, stream

from rl.data.collate import collate
from rl.stages.rlvr.stream import SampleStream
from rl.types import Scored, Verdict

STEPS = 8


def judge(id: str, sample: int) -> Verdict:
    """A third of the prompts teach nothing."""
    return RIGHT if int(id) % 3 == 0 else (RIGHT, WRONG)[sample]


def train(made: SampleStream, first: int = 1, last: int = STEPS) -> list[list[Scored]]:
    """Return the samples of each step; as the loop does, every step makes the next version."""
    steps: list[list[Scored]] = []
    for step in range(first, last + 1):
        steps.append(made.take(step))
        made.context.cluster.sampler.version = step
    return steps


def names(steps: list[list[Scored]]) -> list[list[tuple[str, int]]]:
    return [[(s.rollout.prompt.id, s.rollout.sample) for s in step] for step in steps]


@settings(max_examples=60, deadline=None)
@given(lag=st.integers(0, 4), filtered=st.booleans(), chance=st.integers(0, 9))
def test_what_is_learned_from_is_what_was_drawn_and_no_older_than_the_lag(
    lag: int, filtered: bool, chance: int
) -> None:
    knobs = {"objective": {"filter_zero_variance": filtered}, "max_lag": lag, "steps": STEPS, "prompts": 60}
    made = stream(judge, chance=chance, **knobs)
    numbers: list[int] = []
    for step in range(1, STEPS + 1):
        samples = made.take(step)
        assert len(samples) == 8
        batch = collate(samples, version=step - 1)
        assert (
            0 <= int((batch.version - batch.versions_A).min()) <= int((batch.version - batch.versions_A).max()) <= lag
        )
        numbers += [group.number for group in made.taken]
        # Admission: of what is not dropped at most the steps up to `step + lag` are drawn.
        drawn = step * 4 + len(made.queue)
        assert drawn <= min(step + lag, STEPS) * 4
        made.context.cluster.sampler.version = step
    assert numbers == list(range(1, made.drawn + 1)), "each group that was drawn is learned from once, in order"
    assert not made.queue, "nothing is drawn for steps that will not come"
    other = stream(judge, chance=chance + 1, **knobs)
    again = stream(judge, chance=chance, **knobs)
    assert names(train(other)) == names(train(again)), "whoever ends first has no influence"


def test_a_lag_lets_samples_grow_old() -> None:
    ages = {}
    for lag in (0, 2):
        made = stream(judge, max_lag=lag, steps=STEPS, objective={"filter_zero_variance": False})
        steps = train(made)
        ages[lag] = [step - 1 - min(s.rollout.version for s in samples) for step, samples in enumerate(steps, start=1)]
    assert ages == {0: [0] * STEPS, 2: [0, 1, 2, 2, 2, 2, 2, 2]}


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("killed_after", [1, 4, 7])
def test_a_checkpoint_brings_back_what_was_drawn_ahead(lag: int, killed_after: int) -> None:
    knobs = {"max_lag": lag, "steps": STEPS, "prompts": 60}
    whole = names(train(stream(judge, **knobs)))
    first = stream(judge, **knobs)
    before = names(train(first, last=killed_after))
    second = stream(judge, chance=5, **knobs)
    second.context.cluster.sampler.version = killed_after
    second.restore(first.curriculum.state, first.ahead, first.drawn)
    assert second.ahead == first.ahead
    after = names(train(second, first=killed_after + 1))
    assert before + after == whole, "nothing is lost, and nothing comes twice"


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("killed_after", [1, 5])
def test_draws_by_pass_rate_rest_on_the_results_of_steps_before(lag: int, filtered: bool, killed_after: int) -> None:
    """Whoever ends first has no influence, and a checkpoint goes on with the very next draw."""
    knobs = {"max_lag": lag, "steps": STEPS, "prompts": 30, "curriculum": "pass_rate"}
    knobs["objective"] = {"filter_zero_variance": filtered}
    first = stream(judge, **knobs)
    before = names(train(first, last=killed_after))
    whole = stream(judge, chance=3, **knobs)
    assert names(train(whole, last=killed_after)) == before
    second = stream(judge, chance=5, **knobs)
    second.context.cluster.sampler.version = killed_after
    saved = json.loads(json.dumps([first.curriculum.state, first.ahead, first.drawn, first.curriculum.rates]))
    second.restore(*saved)
    assert names(train(second, first=killed_after + 1)) == names(train(whole, first=killed_after + 1))


def test_what_is_drawn_in_a_step_knows_no_result_of_it() -> None:
    """With other verdicts in step 3 the draws of step 3, and those made ahead, are the same; later ones differ."""
    lag, other = 2, [False]
    told = lambda id, sample: RIGHT if other[0] else (RIGHT, WRONG)[sample]  # noqa: E731
    knobs = {"max_lag": lag, "steps": STEPS, "prompts": 18, "curriculum": "pass_rate"}
    knobs["objective"] = {"filter_zero_variance": False}
    draws = []
    for differs in (False, True):
        made = stream(told, **knobs)
        other[0] = False
        steps = train(made, last=2)
        other[0] = differs
        steps += train(made, first=3, last=3)
        ahead = [id for _, id, _ in made.ahead]
        other[0] = False
        steps += train(made, first=4)
        draws.append((names(steps), ahead))
    (plain, plain_ahead), (changed, changed_ahead) = draws
    assert plain_ahead == changed_ahead
    assert plain[:5] == changed[:5], "steps 4 and 5 were drawn in steps 2 and 3"
    assert plain[5:] != changed[5:], "step 6 is drawn in step 4, when the results of step 3 are known"


def test_data_that_lack_a_prompt_drawn_ahead_are_one_line() -> None:
    made = stream(judge, max_lag=1)
    with pytest.raises(ValueError, match=r"^rlvr 'rl': prompt '99', which was drawn before the checkpoint, is not in"):
        made.restore({"words": [0, 0]}, [(3, "99", 1)], 3)


def test_a_source_of_few_prompts_runs_ahead_as_far_as_it_goes() -> None:
    made = stream(lambda id, sample: (RIGHT, WRONG)[sample], prompts=6, max_lag=4, steps=STEPS)
    for samples in train(made):
        ids = [s.rollout.prompt.id for s in samples]
        assert len(set(ids)) * 2 == len(ids), "no prompt stands in a step twice"
        assert len(ids) >= 2


def test_a_repeated_run_that_becomes_another_one_is_noticed() -> None:
    first = stream(judge, max_lag=1, steps=STEPS)
    first.take(1)
    assert first.diverged_group is None, "no run is repeated"
    again = stream(judge, max_lag=1, steps=STEPS)
    again.cuts = first.written_by
    again.take(1)
    assert again.diverged_group is None
    number, samples = list(again.cuts.items())[1]
    again.cuts = {**again.cuts, number: {**samples, 0: ((0, 1), (1, 7))}}
    assert again.diverged_group == number
