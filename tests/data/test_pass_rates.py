"""Prompts drawn by their recent pass rate: what is likely, what is never given up, and that a seed and the results are all."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.data.mixture import Mixture
from rl.data.pass_rates import FLOOR, PassRates
from rl.types import Message, Prompt

RATES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=30)


def prompts(count: int, name: str = "") -> list[Prompt]:
    return [Prompt(f"{name}{i}", (Message("user", "?"),)) for i in range(count)]


def ids(draw: list[Prompt]) -> list[str]:
    return [prompt.id for prompt in draw]


def results(draw: list[Prompt], rates: list[float]) -> dict[str, list[float]]:
    """Four samples of each prompt, right as often as its rate says."""
    wins = {p.id: round(4 * rates[int(p.id) % len(rates)]) for p in draw}
    return {id: [1.0] * right + [0.0] * (4 - right) for id, right in wins.items()}


def test_weights_by_hand() -> None:
    made = PassRates(prompts(5), seed=0)
    made.observe({"0": [1.0, 0.0], "1": [1.0, 1.0], "2": [0.0], "3": [1.0, 0.0, 0.0, 0.0]})
    assert [made.weight(id) for id in "0123"] == [1.0, FLOOR, FLOOR, FLOOR + (1 - FLOOR) * 0.75]
    assert made.weight("4") == 1.0, "never tried: as much as the best"
    made.observe({"1": [0.0, 0.0]})  # 2 of 2 before count half: 1 of 3
    assert made.weight("1") == pytest.approx(0.1 + 0.9 * 4 * (1 / 3) * (2 / 3))
    made.observe({"2": [7.0, -3.0]})  # a score out of bounds counts as right, or not
    assert made.rates["2"] == [1.0, 2.5]


@given(rates=RATES, seed=st.integers(0, 99), size=st.integers(1, 8), stop=st.integers(0, 12))
def test_the_seed_and_the_results_make_the_draws_and_a_checkpoint_goes_on_with_the_next(
    rates: list[float], seed: int, size: int, stop: int
) -> None:
    def run(made: Mixture[Prompt], rounds: range) -> list[list[str]]:
        draws: list[list[str]] = []
        for _ in rounds:
            draw = made.draw(size)
            draws.append(ids(draw))
            made.observe(results(draw, rates))
        return draws

    whole, again, before, after = (Mixture({"a": prompts(12)}, {"a": 1.0}, seed, "pass_rate") for _ in range(4))
    expected = run(whole, range(12))
    assert run(again, range(12)) == expected
    first = run(before, range(stop))
    saved = json.loads(json.dumps([before.state, before.rates]))
    after.state, after.rates = saved
    assert first + run(after, range(stop, 12)) == expected


@given(size=st.integers(1, 5), lag=st.integers(0, 3), seed=st.integers(0, 99))
def test_a_prompt_under_way_is_not_drawn_again_and_a_checkpoint_knows_it(size: int, lag: int, seed: int) -> None:
    made = Mixture({"a": prompts(25)}, {"a": 1.0}, seed, "pass_rate")
    under_way: list[list[Prompt]] = []
    for _ in range(12):
        draw = made.draw(size)
        assert not {*ids(draw)} & {id for earlier in under_way for id in ids(earlier)}
        assert len({*ids(draw)}) == size
        under_way.append(draw)
        other = Mixture({"a": prompts(25)}, {"a": 1.0}, seed, "pass_rate")
        other.state, other.rates = json.loads(json.dumps([made.state, made.rates]))
        if len(under_way) > lag:
            for mixture in (made, other):
                mixture.observe({p.id: [0.5] for p in under_way[0]})
            under_way.pop(0)
        assert other.rates == made.rates


@given(rates=RATES, count=st.integers(1, 40))
def test_every_prompt_keeps_a_share_of_the_draws(rates: list[float], count: int) -> None:
    made = PassRates(prompts(count), seed=0)
    made.observe(results(made.prompts[::2], rates))
    weights = [made.weight(prompt.id) for prompt in made.prompts]
    assert min(weights) / sum(weights) >= FLOOR / count
    assert max(weights) <= 1.0


def test_draws_follow_the_weights_and_new_prompts_are_tried() -> None:
    """Of 40 prompts ten are right half of the time, ten always, ten never, and ten were never tried."""
    made, drawn = PassRates(prompts(40), seed=3), Counter[str]()
    made.rates = {str(i): [(0.5, 1.0, 0.0)[i // 10], 1.0] for i in range(30)}
    for _ in range(2000):
        (prompt,) = made.draw(1)
        made.waiting.clear()  # the same question each time, without learning
        drawn[("half", "always", "never", "new")[int(prompt.id) // 10]] += 1
    assert abs(drawn["half"] - 2000 / 2.2) < 120
    assert abs(drawn["new"] - 2000 / 2.2) < 120
    assert abs(drawn["always"] - 200 / 2.2) < 50
    assert abs(drawn["never"] - 200 / 2.2) < 50
    fresh = PassRates(prompts(40), seed=0)
    for _ in range(30):
        draw = fresh.draw(4)
        fresh.observe({p.id: [0.0, 0.0] for p in draw})  # nothing is ever right
    assert len(fresh.rates) == 40, "each was tried within three times as many draws"


def test_a_prompt_without_a_verdict_is_free_again_and_as_new() -> None:
    made = PassRates(prompts(2), seed=0)
    assert len(made.draw(5)) == 2
    assert made.draw(1) == []
    made.observe({"0": []})
    assert ids(made.draw(5)) == ["0"]
    assert made.rates == {}


def test_sources_of_a_mixture_keep_their_shares() -> None:
    made = Mixture({"a": prompts(8, "1"), "b": prompts(8, "2")}, {"a": 0.75, "b": 0.25}, 0, "pass_rate")
    for _ in range(10):
        draw = made.draw(4)
        assert Counter(id[0] for id in ids(draw)) == {"1": 3, "2": 1}
        made.observe({p.id: [1.0] for p in draw})
    assert {*made.rates} == {"a", "b"}
    assert Mixture({"a": prompts(8)}, {"a": 1.0}, 0).rates == {}, "an order of chance remembers nothing"
