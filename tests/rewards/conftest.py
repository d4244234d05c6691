from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rewards.contract import Case
from rl.types import Rollout


@pytest.fixture
def folder() -> Path:
    """Where `hostile.py` is, as a recipe's folder would be."""
    return Path(__file__).parent


@pytest.fixture
def rollout() -> Callable[..., Rollout]:
    def make(text: str, answer: str | None = None, **prompt: Any) -> Rollout:
        sample = Case(text, answer).rollout()
        return replace(sample, prompt=replace(sample.prompt, **prompt))

    return make
