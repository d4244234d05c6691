"""Think tags: one chain, closed and not empty, with an answer after it; 1 or 0, or graded."""

from __future__ import annotations

from rewards.contract import Case
from rl.types import THINK_CLOSE, THINK_OPEN, Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, graded: bool = False) -> Verdict:
    """1.0 for `<think> chain </think> answer` with each tag once and neither part blank, else 0.0; `graded`: a quarter
    each for a turn that starts with its one opening tag, one closing tag, a chain, and an answer after it."""
    fault = _fault(rollout.text)
    score = 1.0 if not fault else _quarters(rollout.text) if graded else 0.0
    return Verdict(score=score, reason=fault)


def _quarters(text: str) -> float:
    opened = text.count(THINK_OPEN) == 1 and text.lstrip().startswith(THINK_OPEN)
    chain, closed, answer = text.removeprefix(THINK_OPEN).partition(THINK_CLOSE)
    once = text.count(THINK_CLOSE) == 1
    met = (opened, once, bool(closed and chain.strip()), bool(closed and once and answer.strip()))
    return min(0.75, 0.25 * sum(met))


def _fault(text: str) -> str:
    for tag in (THINK_OPEN, THINK_CLOSE):
        if text.count(tag) != 1:
            return f"{tag} stands {text.count(tag)} times"
    before, _, rest = text.partition(THINK_OPEN)
    chain, closed, answer = rest.partition(THINK_CLOSE)
    if before.strip() or not closed:
        return f"the turn does not start with {THINK_OPEN}"
    if not chain.strip():
        return "the chain is empty"
    return "" if answer.strip() else "no answer after the chain"


GOLD = [
    Case("<think>\nTwo and two are four.\n</think>\n4", None),
    Case("<think>a</think>b", None),
    Case("4", None, equal=False),
    Case("<think>Two and two", None, equal=False),
    Case("<think>\n\n</think>\n4", None, equal=False),
    Case("<think>Two and two are four.</think>", None, equal=False),
    Case("<think>a</think>b</think>c", None, equal=False),
    Case("4</think><think>", None, equal=False),
    Case("Sure! <think>a</think>b", None, equal=False),
    Case("<think>Two and two are four.</think>", None, score=(0.75, 0.75), args={"graded": True}),
    Case("4", None, score=(0.0, 0.0), args={"graded": True}),
]
