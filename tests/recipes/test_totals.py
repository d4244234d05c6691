"""Sums of several numbers with one equation for each addition."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rl import bundled
from rl.data import user_functions

SUMS = user_functions.load(f"{Path(bundled.FOLDER) / 'totals.py'}:sums", "data.sums")


@pytest.mark.parametrize("terms", [2, 3, 5])
def test_every_equation_of_a_chain_is_true_and_goes_on_from_the_last(terms: int) -> None:
    for prompt in SUMS("train", size=200, terms=terms):
        numbers = [int(number) for number in re.findall(r"\d+", prompt.question)]
        equations = re.findall(r"(\d+)\+(\d+)=(\d+)", prompt.demonstration.reasoning)
        assert len(equations) == terms - 1
        total = numbers[0]
        for (left, term, result), number in zip(equations, numbers[1:], strict=True):
            assert (int(left), int(term), int(result)) == (total, number, total + number)
            total += number
        assert prompt.answer == prompt.demonstration.response == str(total) == str(sum(numbers))


def test_no_sum_is_in_two_splits_and_none_is_there_twice() -> None:
    ids = [[prompt.id for prompt in SUMS(split, size=2000)] for split in ("train", "validation", "test")]
    assert [len(part) for part in ids] == pytest.approx([1600, 200, 200], abs=50)
    assert len({id for part in ids for id in part}) == sum(map(len, ids))


def test_the_share_of_bare_demonstrations() -> None:
    chains = [prompt.demonstration.reasoning for prompt in SUMS("train", size=2000, bare=0.25)]
    assert chains.count("") / len(chains) == pytest.approx(0.25, abs=0.03)
    # What is bare does not depend on how many there are: a longer run asks the same questions, shown alike.
    assert chains[:100] == [prompt.demonstration.reasoning for prompt in SUMS("train", size=400, bare=0.25)][:100]
