from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.config import ConfigError
from rl.data.curriculum import Curriculum
from rl.data.mixture import Mixture, apportion, check_weights, describe, epoch, limits, require_distinct_ids, weights_of
from rl.types import Message, Prompt


def prompts(name: str, count: int) -> list[Prompt]:
    return [Prompt(f"{name}{i}", (Message("user", "?"),)) for i in range(count)]


def test_weights_are_shares() -> None:
    assert weights_of("a") == {"a": 1.0}
    assert weights_of({"a": 3, "b": 1}) == {"a": 0.75, "b": 0.25}
    assert describe("a") == "a"
    assert describe({"a": 3, "b": 1}) == "a (75%) + b (25%)"
    assert limits({"a": 3, "b": 1}, 10) == {"a": 8, "b": 2}
    assert limits({"a": 99, "b": 1}, 10) == {"a": 10, "b": 1}, "a source that is named is never left out"
    assert limits({"a": 3, "b": 1}, None) == {"a": None, "b": None}
    assert limits({"a": 0.1, "b": 0.2, "c": 0.7}, 10**12) == {"a": 10**11, "b": 2 * 10**11, "c": 7 * 10**11}


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=1), st.integers(4, 10**7))
def test_a_limit_is_shared_out_to_within_one(weights: dict[str, float], limit: int) -> None:
    taken, shares = limits(weights, limit), weights_of(weights)
    assert all(abs((count or 0) - limit * shares[name]) <= 1 for name, count in taken.items())
    assert limit <= sum(count or 0 for count in taken.values()) < limit + len(weights)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=1),
    st.lists(st.integers(1, 20), max_size=12),
)
def test_draws_follow_the_weights_however_they_are_cut(weights: dict[str, float], steps: list[int]) -> None:
    shares = weights_of(weights)
    taken = dict.fromkeys(shares, 0)
    for step in steps:
        given = apportion(step, shares, taken)
        assert sum(given.values()) == step
        taken = {name: taken[name] + given[name] for name in shares}
    assert taken == apportion(sum(steps), shares)
    assert all(taken[name] - shares[name] * sum(steps) < 1 for name in shares)


def test_an_epoch_sees_no_source_twice() -> None:
    shares = weights_of({"distilled": 0.7, "text": 0.3})
    assert epoch({"distilled": 70, "text": 10_000}, shares) == 100
    assert epoch({"distilled": 1000, "text": 3}, shares) == 10
    mixture = Mixture({"distilled": prompts("d", 70), "text": prompts("t", 1000)}, shares, seed=1)
    assert len(mixture) == 100
    counts = Counter(p.id for _ in range(10) for p in mixture.draw(10))
    assert max(counts.values()) == 1
    assert sum(count for id, count in counts.items() if id[0] == "d") == 70


def test_it_goes_on_where_it_was_left() -> None:
    sources = {"a": prompts("a", 7), "b": prompts("b", 5)}
    shares = weights_of({"a": 1, "b": 2})
    whole = Mixture(sources, shares, seed=3)
    for _ in range(4):
        whole.draw(6)
    resumed = Mixture(sources, shares, seed=3)
    resumed.state = whole.state
    assert [resumed.draw(6) for _ in range(5)] == [whole.draw(6) for _ in range(5)]


def test_one_source_is_its_curriculum() -> None:
    items = prompts("a", 9)
    mixture, alone = Mixture({"a": items}, weights_of("a"), seed=5), Curriculum(items, 5)
    assert len(mixture) == 9
    assert [mixture.draw(4) for _ in range(6)] == [alone.draw(4) for _ in range(6)]


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match=r"stages\[0\]\.sft\.data: empty"):
        check_weights({}, "stages[0].sft.data")
    with pytest.raises(ConfigError, match=r"data\.b: a weight must be above 0; got 0"):
        check_weights({"a": 1.0, "b": 0.0}, "data")
    with pytest.raises(ValueError, match="'a' and 'b' both have a prompt 'x0'"):
        require_distinct_ids({"a": prompts("x", 1), "b": prompts("x", 1)})
