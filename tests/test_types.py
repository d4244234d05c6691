"""The examples in the docstrings of the loop's types do what they say."""

from __future__ import annotations

import doctest

import numpy as np
import torch

from rl import types


def test_the_examples_hold() -> None:
    results = doctest.testmod(types, extraglobs={"np": np, "torch": torch})
    assert results.attempted >= 12
    assert results.failed == 0
