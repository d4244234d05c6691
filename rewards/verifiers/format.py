"""Think tags: one chain, closed and not empty, with an answer after it; 1 or 0."""

from __future__ import annotations

from rewards.verifiers import Case
from rl.types import THINK_CLOSE, THINK_OPEN, Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout) -> Verdict:
    """1.0 for `<think> chain </think> answer` with each tag once and neither part blank, else 0.0."""
    fault = _fault(rollout.text)
    return Verdict(score=0.0, reason=fault) if fault else Verdict(score=1.0)


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
]
