"""Loops: 1 where few n-grams are repeated, falling to 0 where all are; a turn that ends in a loop scores 0."""

from __future__ import annotations

import re

from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|\w+|[^\w\s]")  # scripts without spaces: by character
_LONGEST_PERIOD = 64  # tokens of a phrase: longer loops are left to the n-grams


def verify(prompt: Prompt, rollout: Rollout, *, n: int = 6, allowed: float = 0.2, times: int = 4) -> Verdict:
    """Score 1.0 up to r = `allowed`, then (1 − r) / (1 − allowed), where r is the share of the turn's n-grams (of words,
    marks, or characters of scripts without spaces) that repeat an earlier one. 0.0 where the turn ends with one phrase
    `times` times over, at least 2n tokens long in all. Parts: `repeated` (r). Raises ValueError for n < 1, `allowed` outside
    [0, 1) or times < 2."""
    if n < 1 or not 0 <= allowed < 1 or times < 2:
        raise ValueError("repetition: needs n ≥ 1, 0 ≤ allowed < 1, times ≥ 2")
    tokens = _TOKEN.findall(rollout.text.casefold())
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    repeat_share = 1 - len(set(grams)) / len(grams) if grams else 0.0
    loop = _find_loop(tokens, times, 2 * n)
    if loop:
        return Verdict(0.0, {"repeated": repeat_share}, reason=f"ends in a loop of '{' '.join(loop)[:100]}'")
    score = min(1.0, (1 - repeat_share) / (1 - allowed))
    return Verdict(
        score, {"repeated": repeat_share}, reason="" if score == 1.0 else f"{repeat_share:.0%} of it repeated"
    )


def _find_loop(tokens: list[str], times: int, min_length: int) -> list[str]:
    """Return the phrase that the last tokens repeat, or [] where they repeat none. The last round may be incomplete."""
    for period in range(1, min(_LONGEST_PERIOD, len(tokens) // times) + 1):
        length = period  # length of the tail in which each token equals the one a period later
        while length < len(tokens) and tokens[-1 - length] == tokens[-1 - length + period]:
            length += 1
        if length >= max(min_length, times * period):
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
