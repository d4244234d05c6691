"""`scripts/bench scale`: its simulation, by hand and by rules that every run keeps."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

from simulation import EngineTimes, Result, Setting, even_share, quantiles, simulate


def groups(*lengths: Sequence[int]) -> Callable[[int], Sequence[int]]:
    return lambda group: list(lengths[group % len(lengths)])


def setting(**changes: object) -> Setting:
    """One engine of 1 s a step whatever runs, one group of one sample a step, 10 s of training."""
    base = Setting(1, EngineTimes(1.0), lambda lengths: 10.0, 0.0, 1, 1, groups([5]))
    return replace(base, **changes)  # type: ignore[arg-type]


# By hand


def test_sync_is_the_sum_of_its_phases():
    result = simulate(setting(transfer_s=2.0, verify_s=3.0), 4)
    assert result.ends == (20.0, 40.0, 60.0, 80.0)  # 5 written, 3 judged, 10 trained, 2 sent
    assert result.samples_per_s == 1 / 20
    assert (result.training, result.transferring, result.waiting) == (0.5, 0.1, 0.4)
    assert (result.staleness, result.most_stale) == (0, 0)


def test_one_step_ahead_hides_the_shorter_phase():
    """While step 1 trains (5 s to 15 s) the sample of step 2 is written (it was drawn at 0 s)."""
    result = simulate(setting(max_lag=1), 3)
    assert result.ends == (15.0, 25.0, 35.0)
    assert result.waiting == pytest.approx(5 / 35)
    # Step 2's sample began with version 0 and trains version 1; so does step 3's, drawn at 15 s with version 1.
    assert result.most_stale == 1
    slow_engine = simulate(setting(max_lag=1, lengths=groups([20])), 3)
    # Both samples of 20 s are drawn at 0 s and run side by side; the third is drawn at 30 s, when step 1 has ended.
    assert slow_engine.ends == (30.0, 40.0, 60.0)


def test_the_longest_sample_of_a_group_holds_up_its_step_alone():
    """Steps of one group of two: 2 and 30 tokens by turns with 4 and 4. In draw order step 1 waits for 30."""
    lengths = groups([2, 30], [4, 4])
    assert simulate(setting(samples_per_prompt=2, lengths=lengths), 2).ends == (40.0, 54.0)
    ahead = simulate(setting(samples_per_prompt=2, lengths=lengths, max_lag=1), 4)
    # Step 2's group is ready at 4 s and waits for its turn; step 3's is drawn at 40 s and ready at 70 s.
    assert ahead.ends == (40.0, 50.0, 80.0, 90.0)


def test_an_engine_slows_down_with_what_it_runs():
    times = EngineTimes(1.0, sample_s=0.5, token_s=0.25)
    # Two samples: 1 + 2 × 0.5 for three steps, and 0.25 for 0, 2 and 4 cached tokens; then one for two steps with 3 and 4.
    assert times.of(3, 2, 0) == 6 + 0.25 * 6
    assert times.of(2, 1, 3) == 3 + 0.25 * 7
    result = simulate(setting(engine=times, samples_per_prompt=2, lengths=groups([3, 5])), 1)
    assert result.ends == (7.5 + 4.75 + 10,)


def test_slots_and_prompts():
    """Three samples of 4 tokens on two slots, whose prompts of 10 tokens are read at 0.1 s a token."""
    times = EngineTimes(1.0, read_s=0.1, slots=2)
    result = simulate(setting(engine=times, samples_per_prompt=3, lengths=groups([4, 4, 4]), prompt_tokens=10), 1)
    assert result.ends == (2 + 4 + 1 + 4 + 10,)
    assert result.queueing == pytest.approx(6 / 21), "while the third waited for a slot"


def test_engines_share_samples_evenly():
    times = EngineTimes(0.0, sample_s=1.0)
    for engines, seconds in ((1, 16.0), (2, 8.0), (4, 4.0)):
        result = simulate(setting(engines=engines, engine=times, samples_per_prompt=4, lengths=groups([4] * 4)), 1)
        assert result.ends == (seconds + 10,)


def test_a_swap_reads_running_samples_again():
    """A sample of 40 tokens, drawn at 0 s for step 2, has 15 when step 1 ends at 15 s: 2 s of swap and 15 × 0.1 s to read."""
    times = EngineTimes(1.0, read_s=0.1, swap_s=2.0)
    result = simulate(setting(engine=times, max_lag=1, lengths=groups([5], [40])), 2)
    assert result.ends[0] == 15.0
    assert result.ends[1] == pytest.approx(40 + 2 + 1.5 + 10)


def test_shared_devices_work_in_turns():
    """Engines stand still while the trainer works; what has been written stays written, and is read again."""
    times = EngineTimes(1.0, read_s=0.1)
    result = simulate(setting(engine=times, shared=True, max_lag=1, lengths=groups([5], [12])), 2)
    # At 5 s step 1 trains until 15 s; 5 tokens are read again in 0.5 s; the other 7 are written until 22.5 s.
    assert result.ends == (15.0, pytest.approx(32.5))
    sync = setting(engine=times, lengths=groups([5], [12]))
    assert simulate(sync, 6).ends == simulate(replace(sync, shared=True), 6).ends, "in sync they take turns anyway"


def test_verifiers_are_a_queue():
    result = simulate(setting(samples_per_prompt=4, lengths=groups([5] * 4), verify_s=3.0, verifiers=2), 1)
    assert result.ends == (5 + 3 + 3 + 10,)


def test_an_even_share():
    assert even_share([5, 5, 5, 5], 2) == 10
    assert even_share([9, 1, 1, 1], 2) == 9
    assert even_share([7], 4) == 7


def test_quantiles_keep_mean_and_limit():
    lengths = quantiles(2500, 0.8, 10_240, 4000)
    assert sum(lengths) / 4000 == pytest.approx(2500, rel=1e-3)
    assert max(lengths) == 10_240
    assert lengths == sorted(lengths)
    assert set(quantiles(64, 0.0, 384, 10)) == {64}


# Rules

SETTINGS = st.builds(
    dict,
    engines=st.integers(1, 4),
    max_lag=st.integers(0, 4),
    shared=st.booleans(),
    prompts_per_step=st.integers(1, 4),
    samples_per_prompt=st.integers(1, 4),
    verify_s=st.sampled_from([0.0, 1.5]),
    transfer_s=st.sampled_from([0.0, 2.0]),
)
ENGINES = st.builds(
    EngineTimes,
    step_s=st.sampled_from([0.5, 1.0]),
    sample_s=st.sampled_from([0.0, 0.1]),
    token_s=st.sampled_from([0.0, 0.01]),
    read_s=st.sampled_from([0.0, 0.01]),
    swap_s=st.sampled_from([0.0, 0.5]),
    slots=st.sampled_from([2, 64]),
)


def run(
    changes: dict[str, object], engine: EngineTimes, seed: int, steps: int = 8
) -> tuple[Result, list[Sequence[int]]]:
    """The result, and the lengths that each step was trained on."""
    draw = random.Random(seed)
    lengths = [[draw.randint(1, 40) for _ in range(int(str(changes["samples_per_prompt"])))] for _ in range(400)]
    trained: list[Sequence[int]] = []

    def train_s(step_lengths: Sequence[int]) -> float:
        trained.append(list(step_lengths))
        return 5.0

    result = simulate(setting(**changes, engine=engine, lengths=lambda g: list(lengths[g]), train_s=train_s), steps)
    size = int(str(changes["prompts_per_step"]))
    expected = [[n for g in lengths[s * size : (s + 1) * size] for n in g] for s in range(len(trained))]
    assert trained == expected, "groups are trained on in draw order, whole, and none is dropped"
    return result, trained


@settings(max_examples=50, deadline=None)
@given(SETTINGS, ENGINES, st.integers(0, 1000))
def test_rules_of_every_run(changes, engine, seed):
    result, _ = run(changes, engine, seed)
    assert result.most_stale <= changes["max_lag"]
    assert list(result.ends) == sorted(result.ends)
    step_on_the_way = engine.of(1, engine.slots, 40 * engine.slots)  # when the run ends
    assert 0 <= result.occupancy <= 1.0 + step_on_the_way / result.ends[-1]
    assert 0 <= result.queueing <= result.waiting + 1e-9
    total = result.training + result.transferring + result.waiting
    # The trainer works, sends or waits; on shared devices it also waits for the engines' step on the way.
    assert total == pytest.approx(1.0) if not changes["shared"] else total <= 1 + 1e-9


@settings(max_examples=25, deadline=None)
@given(SETTINGS, ENGINES, st.integers(0, 1000))
def test_no_run_beats_its_trainer_or_its_engines(changes, engine, seed):
    """The trainer's own pace, and what the engines could write if they never waited and one step cost them least."""
    result, trained = run(changes, engine, seed)
    trainer_s = len(result.ends) * (5.0 + float(changes["transfer_s"]))
    assert result.ends[-1] >= trainer_s - 1e-9
    tokens = sum(sum(lengths) for lengths in trained)
    fastest = max(n / engine.of(1, n, 0) for n in range(1, engine.slots + 1))
    assert result.ends[-1] >= tokens / (fastest * changes["engines"]) - 1e-9


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_running_ahead_pays_where_a_swap_costs_nothing(seed, shared):
    """With steps that cost the same whatever runs, no run that may go further ahead takes longer."""
    base = {"engines": 2, "prompts_per_step": 4, "samples_per_prompt": 4, "shared": shared, "verify_s": 0.0}
    ends = [
        run({**base, "max_lag": lag, "transfer_s": 0.0}, EngineTimes(1.0), seed)[0].ends[-1] for lag in (0, 1, 2, 4, 8)
    ]
    # A shared engine stops between two steps only, which may cost a later run the rest of a step now and then.
    assert all(later <= earlier + (8.0 if shared else 1e-6) for earlier, later in pairwise(ends))
    assert ends[-1] < ends[0]
