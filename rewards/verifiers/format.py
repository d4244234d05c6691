"""Think tags: one chain, closed and not empty, with an answer after it; 1 or 0, or in quarters."""

from __future__ import annotations

from rewards.contract import Case
from rl.think import THINK_CLOSE, THINK_OPEN, is_blank
from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, graded: bool = False) -> Verdict:
    """Score 1.0 for `<think> chain </think> answer` with each tag once and neither part blank, else 0.0; with `graded` a
    quarter each for a turn that starts with its one opening tag, one closing tag, a chain, and an answer after it. Blank is
    what a reader cannot see (`rl.think.is_blank`)."""
    problem = _find_problem(rollout.text)
    score = 0.0
    if not problem:
        score = 1.0
    elif graded:
        score = _score_in_quarters(rollout.text)
    return Verdict(score=score, reason=problem)


def _score_in_quarters(text: str) -> float:
    opens_once = text.count(THINK_OPEN) == 1 and is_blank(text.partition(THINK_OPEN)[0])
    head, close_tag, answer = text.partition(THINK_CLOSE)
    closes_once = text.count(THINK_CLOSE) == 1
    has_chain = bool(close_tag) and not is_blank(head.replace(THINK_OPEN, ""))
    has_answer = bool(close_tag) and closes_once and not is_blank(answer)
    # at most 0.75: the quarters are looser than the whole form, and only a turn in form scores 1
    return min(0.75, 0.25 * sum((opens_once, closes_once, has_chain, has_answer)))


def _find_problem(text: str) -> str:
    """Return the first thing that is wrong with a turn's form, or "" where nothing is."""
    for tag in (THINK_OPEN, THINK_CLOSE):
        if text.count(tag) != 1:
            return f"{tag} stands {text.count(tag)} times"
    before, _, rest = text.partition(THINK_OPEN)
    chain, close_tag, answer = rest.partition(THINK_CLOSE)
    if not is_blank(before) or not close_tag:  # no close tag in the rest: it stands before the opening one
        return f"the turn does not start with {THINK_OPEN}"
    if is_blank(chain):
        return "the chain is empty"
    return "no answer after the chain" if is_blank(answer) else ""


GOLD = [
    Case("<think>\nTwo and two are four.\n</think>\n4", None),
    Case("<think>a</think>b", None),
    Case("4", None, equal=False),
    Case("<think>Two and two", None, equal=False),
    Case("<think>\n\n</think>\n4", None, equal=False),
    Case("<think>Two and two are four.</think>", None, equal=False),
    Case("<think>\u200b\u2800</think>4", None, equal=False),
    Case("<think>Two and two are four.</think>\ufeff\u3164", None, equal=False),
    Case("<think>a</think>b</think>c", None, equal=False),
    Case("4</think><think>", None, equal=False),
    Case("Sure! <think>a</think>b", None, equal=False),
    Case("<think>Two and two are four.</think>", None, score=(0.75, 0.75), args={"graded": True}),
    Case("4", None, score=(0.0, 0.0), args={"graded": True}),
]
