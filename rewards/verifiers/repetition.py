"""Loops: 1 where few n-grams come again, falling to 0 as all of them do; a turn that ends in a loop scores 0."""

from __future__ import annotations

import re

from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|\w+|[^\w\s]")  # scripts without spaces: by character
_LONGEST_PERIOD = 64


def verify(prompt: Prompt, rollout: Rollout, *, n: int = 6, allowed: float = 0.2, times: int = 4) -> Verdict:
    """With r the share of the turn's n-grams (words, marks, or characters of scripts without spaces) that have stood in
    it before: 1.0 up to r = allowed, then (1 − r) / (1 − allowed). 0.0 where the end is one phrase `times` times over
    and at least 2n long. Parts: `repeated` (r). Raises ValueError for n < 1 or allowed outside [0, 1)."""
    if n < 1 or not 0 <= allowed < 1 or times < 2:
        raise ValueError("repetition: needs n ≥ 1, 0 ≤ allowed < 1, times ≥ 2")
    tokens = _TOKEN.findall(rollout.text.casefold())
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    repeated = 1 - len(set(grams)) / len(grams) if grams else 0.0
    loop = _loop(tokens, times, 2 * n)
    if loop:
        return Verdict(0.0, {"repeated": repeated}, reason=f"ends in a loop of '{' '.join(loop)[:100]}'")
    score = min(1.0, (1 - repeated) / (1 - allowed))
    return Verdict(score, {"repeated": repeated}, reason="" if score == 1.0 else f"{repeated:.0%} of it repeated")


def _loop(tokens: list[str], times: int, least: int) -> list[str]:
    """The phrase that the last tokens repeat; it may break off within itself."""
    for period in range(1, min(_LONGEST_PERIOD, len(tokens) // times) + 1):
        length = period
        while length < len(tokens) and tokens[-1 - length] == tokens[-1 - length + period]:
            length += 1
        if length >= max(least, times * period):
            return tokens[len(tokens) - period :]
    return []


GOLD = [
    Case("The first tone is low, the second one is higher, so the answer is the second.", None),
    Case("<think>a b a b</think>Yes, yes, yes.", None),
    Case("", None),
    Case("It is low. " * 30, None, score=(0.0, 0.0), args={"n": 6}),
    Case("So the answer is " + "wait " * 40, None, score=(0.0, 0.0), args={"n": 6}),
    Case("好的" * 50, None, score=(0.0, 0.0), args={"n": 6}),
    Case(
        "let me hear that clip again from the start " * 3 + "then stop",
        None,
        equal=False,
        args={"n": 4, "allowed": 0.1},
    ),
]
