"""What counts as the same output."""

from __future__ import annotations

import pytest

from rewards.programs.printed import same_output

SAME = [
    ("0.3333333333333333\n", "0.333333333\n"), ("1.0", "1"), ("1", "1.0"), ("2.9999999999", "3"), ("-0.0", "0"), ("3.", "3"),
    ("[0.1, 0.30000000000000004]", "[0.10, 0.3]"), ("x=0.5%", "x=.50%"), ("Case #1: 2.50", "Case #1: 2.5"), ("1e3", "1000"),
    ("123456789012.5", "123456789012.6"), ("1 2 \n", "1 2"), ("nan", "nan"),
]  # fmt: skip
DIFFERENT = [
    ("3", "4"), ("007", "7"), ("0.33", "0.333333333"), ("10000010.0", "10000019"), ("10000010", "10000019"), ("1 2", "1  2"),
    ("1.2.3", "1.2.30"), ("2020-01-02", "2020-1-2"), ("1_0", "10"), ("1.5\n2.5", "1.5 2.5"), ("inf", "1.0"), ("1.0", "1e400"),
    ("a1.0", "a1"), ("0.5", "0.5 0.5"), ("", "0.0"), ("nan", "1.0"), ("True", "1.0"), ("٣.0", "3.0"), ("-0.5", "0.5"),
]  # fmt: skip


@pytest.mark.parametrize(("output", "right"), SAME)
def test_the_same(output: str, right: str):
    assert same_output(output, right, 1e-6)


@pytest.mark.parametrize(("output", "right"), DIFFERENT)
def test_different(output: str, right: str):
    assert not same_output(output, right, 1e-6)


def test_tolerance():
    assert same_output("0.33", "0.3333", 0.01)
    assert same_output("330.0", "333.33", 0.01)  # relative
    assert not same_output("0.3333", "0.33333", 0.0)
    assert same_output("0.50", "0.5", 0.0)
