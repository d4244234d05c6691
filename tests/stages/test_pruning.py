"""Chains of demonstrations that are cut short at random."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.config import ConfigError, build
from rl.stages.pruning import PruneConfig, prune_demonstrations
from rl.types import Demonstration, Message, Prompt

CHAIN = "first\n\nsecond line\nof two\n\n\nthird\n\nlast"
STEPS = ["first\n\n", "second line\nof two\n\n\n", "third\n\n", "last"]


def prompt_of(chain: str, name: str = "p") -> Prompt:
    return Prompt(name, (Message("user", "?"),), demonstration=Demonstration(chain, "the answer, whole"))


@pytest.mark.parametrize(
    ("by", "chain", "steps"),
    [
        ("paragraph", CHAIN, STEPS),
        ("paragraph", "one\ntwo", ["one\ntwo"]),
        ("paragraph", "one\n \t\ntwo", ["one\n \t\n", "two"]),
        ("line", "one\n\n two\nthree\n", ["one\n\n ", "two\n", "three\n"]),
        (r" then ", "3 then 7 makes 10 then 1 makes 11", ["3", " then 7 makes 10", " then 1 makes 11"]),
        (r"\d+\. ", "1. hear\n2. add", ["1. hear\n", "2. add"]),
        (r"^Step", "Step 1: hear\nStep 2: add", ["Step 1: hear\n", "Step 2: add"]),
        ("paragraph", "", [""]),
    ],
)
def test_steps_begin_where_they_are_said_to(by: str, chain: str, steps: list[str]) -> None:
    assert PruneConfig(by=by).split(chain) == steps


@given(st.text(alphabet="ab .\n\t ", max_size=60), st.sampled_from(["paragraph", "line", "a", r"\.\s"]))
def test_steps_make_the_chain_again(chain: str, by: str) -> None:
    assert "".join(PruneConfig(by=by).split(chain)) == chain


@given(st.integers(0, 10**9), st.floats(0, 0.5), st.floats(0, 0.5))
def test_what_is_left_are_whole_steps_in_their_order(seed: int, inner: float, whole: float) -> None:
    left, is_cut = PruneConfig(inner=inner, whole=whole).prune(CHAIN, Random(seed))
    possible = {"".join(some).strip() for count in range(5) for some in combinations(STEPS, count)}
    assert left in possible
    assert is_cut == (not left.endswith("last"))


def test_each_length_is_drawn_alike() -> None:
    config = PruneConfig(inner=0, whole=0)
    counts = Counter(config.prune(CHAIN, Random(i))[0] for i in range(5000))
    assert set(counts) == {"".join(STEPS[:n]).strip() for n in range(5)}  # none at all among them
    assert all(850 < count < 1150 for count in counts.values()), counts


def test_shares_are_kept() -> None:
    config = PruneConfig(steps=1, inner=0.3, whole=0.2)
    kinds = Counter[str]()
    for i in range(5000):
        left, _ = config.prune(CHAIN, Random(i))
        # With `steps: 1` the three kinds cannot be taken for each other: inner pruning keeps the last step.
        kinds["whole" if left == CHAIN else "first" if left == "first" else "inner"] += 1
        assert left in (CHAIN, "first") or (left.startswith("first") and left.endswith("last"))
    assert 900 < kinds["whole"] < 1100
    assert 1400 < kinds["inner"] < 1600


@pytest.mark.parametrize("chain", ["", "one step", "one\n\ntwo"])
def test_a_chain_without_inner_steps_loses_its_end_as_the_others_do(chain: str) -> None:
    inner, outer = PruneConfig(inner=1, whole=0), PruneConfig(inner=0, whole=0)
    assert [inner.prune(chain, Random(i)) for i in range(50)] == [outer.prune(chain, Random(i)) for i in range(50)]


def test_a_step_that_comes_twice_is_no_end() -> None:
    chain, config = "0 then 0 makes 0 then 0 makes 0", PruneConfig(by=" then ", inner=0, whole=0, steps=2)
    assert config.prune(chain, Random(0)) == ("0 then 0 makes 0", True)
    assert PruneConfig(by=" then ", inner=0, whole=0, steps=3).prune(chain, Random(0)) == (chain, False)


def test_answers_stay_and_each_draw_is_cut_otherwise_by_the_seed_alone() -> None:
    prompts = [prompt_of(CHAIN, f"p{i}") for i in range(64)]
    config = PruneConfig()
    once, again = (prune_demonstrations(prompts, config, 7, 0) for _ in range(2))
    assert once == again
    assert once != prune_demonstrations(prompts, config, 7, 64)  # the next epoch
    assert once != prune_demonstrations(prompts, config, 8, 0)
    # A stage that is resumed in its middle cuts as the one that was not interrupted.
    assert once[32:] == prune_demonstrations(prompts[32:], config, 7, 32)
    assert {p.demonstration.response for p in once if p.demonstration} == {"the answer, whole"}
    plain = Prompt("q", (Message("user", "?"),))
    assert prune_demonstrations([plain], config, 0, 0) == [plain]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"inner": 0.7, "whole": 0.4}, "shares of one whole"),
        ({"inner": -0.1}, "shares of one whole"),
        ({"steps": -1}, "must not be negative"),
        ({"by": "("}, "no regular expression"),
        ({"by": "a*"}, "matches everywhere"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        build(PruneConfig, values, "sft.prune")
