"""The score of verl's default_compute_score, by the prompt's source: GSM8K, MATH, DAPO, AIME, Numina, Geometry3k, search."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import cast

from rewards.answer_forms import read_result
from rewards.contract import Case
from rewards.foreign import verl_arguments
from rl.types import Prompt, Rollout, Verdict

ANY_SCALE = True
"""True: scores need not lie in [0, 1], since some of verl's are -1 or 1."""
PROGRAMS = ("codecontests", "apps", "codeforces", "taco")
"""Sources whose answers are programs, which verl runs without a sandbox."""
_SCORERS = ("gsm8k", "math_reward", "math_dapo", "prime_math", "geo3k", "search_r1_like_qa_em")


def verify(prompt: Prompt, rollout: Rollout) -> Verdict:
    """Return verl's score of the whole turn. The source is the column `data_source`, or else the prompt's source; one that
    verl does not know is an error, and so is one of programs: use `code`."""
    arguments = verl_arguments(prompt, rollout)
    source = arguments["data_source"]
    if source in PROGRAMS:
        raise ValueError(f"verl would run programs of the source '{source}' without a sandbox; use the verifier `code`")
    if not source:
        raise ValueError("the prompt has no source; map it: data.NAME.fields: {source: data_source}")
    return cast(Verdict, read_result(_default_compute_score()(**arguments), "verl"))


def require() -> None:
    """Import verl and its scorers, which takes some 20 s. Raises ValueError where it is not installed."""
    if find_spec("verl") is None:
        raise ValueError("verifier 'verl': verl is not installed; pip install 'groundtone[verl]', or scripts/setup")
    _default_compute_score()
    for name in _SCORERS:
        with suppress(ImportError):  # of what it needs itself: its own source alone is an error then
            importlib.import_module(f"verl.utils.reward_score.{name}")


@cache
def _default_compute_score() -> Callable[..., object]:
    return cast("Callable[..., object]", importlib.import_module("verl.utils.reward_score").default_compute_score)


_GSM8K = {"data_source": "openai/gsm8k"}
GOLD = [
    Case("6 times 7 is 42.\n#### 42", "42", fields=_GSM8K),
    Case("#### 41", "42", fields=_GSM8K, equal=False),
    Case("It is 42.", "42", fields=_GSM8K, equal=False),
    Case("So the answer is \\boxed{42}.", "42", fields={"data_source": "lighteval/MATH"}),
]
