"""A transcript with the action that took it (`<internal>`, `<external>`, `<rewrite>`): whether its words are right."""

from __future__ import annotations

from rewards.answers.texts import answer_text
from rewards.answers.transcripts import error_rate, transcript_words
from rewards.contract import Case
from rl.data.arbitration import ASK, FIELD, candidate_of, split_action, transcript_in
from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, graded: bool = False, needs_action: bool = True) -> Verdict:
    """Score 1.0 where the words behind the action are those of the gold, else 0.0; with `graded` max(0, 1 − WER). An answer
    without an action scores 0 unless `needs_action` is off. Parts: what the model's own transcript (its chain up to `<ask>`) and
    the external candidate (`prompt.fields['external']`) would have scored, and whether the candidate was asked for. Raises
    ValueError without a reference."""
    gold = prompt.answer or ""
    action, text = split_action(answer_text(rollout.response))
    score = _score(gold, text, graded)
    read = " ".join(transcript_words(text))
    own = transcript_in(rollout.reasoning)
    parts = {"own": _score(gold, own, graded), "asked": float(ASK in rollout.reasoning or action == "external")}
    if FIELD in prompt.fields:
        parts["external"] = _score(gold, candidate_of(prompt), graded)
    if action is None and needs_action:
        return Verdict(0.0, parts, reason="no action before the answer", read=read)
    reason = "" if score == 1 else f"read '{text[:100]}'"
    return Verdict(score, parts, reason=reason, read=read)


def _score(gold: str, text: str, graded: bool) -> float:
    errors = error_rate(gold, text)
    return max(0.0, 1.0 - errors) if graded else float(errors == 0)


_HEARD = {"external": "7 3 9"}
GOLD = [
    Case("<think>\n7 3 9\n</think>\n<internal>7 3 9", "7 3 9", fields=_HEARD),
    Case("<think>\n7 3 5<ask>7 3 9</ask>\n</think>\n<external>7 3 9", "7 3 9", fields=_HEARD),
    Case(
        "<think>\n7 3 5<ask>7 3 5</ask></think><rewrite> Seven, three!", "seven three", fields={"external": ["7 3 5"]}
    ),
    Case("<think>\n7 3 5\n</think>\n<internal>7 3 5", "7 3 9", equal=False, fields=_HEARD),
    Case("<think>\n7 3 5\n</think>\n7 3 9", "7 3 9", score=(0.0, 0.0), fields=_HEARD, args={"needs_action": True}),
    Case("<think>\n7 3 5\n</think>\n7 3 9", "7 3 9", fields=_HEARD, args={"needs_action": False}),
    Case("<internal>7 3 5", "7 3 9 1", score=(0.5, 0.5), args={"graded": True}),
    Case("<external>", "7 3 9", equal=False, fields={"external": ""}),
    Case("<think>\n7 3 9", "7 3 9", equal=False, fields=_HEARD),
]
