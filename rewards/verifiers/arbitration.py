"""A transcript with the action that took it (`<internal>`, `<external>`, `<rewrite>`): whether its words are right."""

from __future__ import annotations

from rewards.answers.texts import answer_text
from rewards.answers.transcripts import error_rate, transcript_words
from rewards.contract import Case
from rl.data.arbitration import ASK, FIELD, candidate_of, sign_of, split_action, transcript_in
from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, graded: bool = False, needs_action: bool = True) -> Verdict:
    """Score 1.0 where the words behind the action are those of the gold, else 0.0; with `graded` max(0, 1 − WER). 0 also where
    `<internal>` or `<external>` has other words behind it than the candidate that it names, and for an answer without an action
    unless `needs_action` is off. Parts: what the model's own transcript (its chain up to `<ask>`) and the external candidate
    (`prompt.fields['external']`) would have scored, and whether the candidate was asked for. Raises ValueError without a
    reference."""
    gold = prompt.answer or ""
    action, text = split_action(answer_text(rollout.response))
    score = _score(gold, text, graded)
    words = transcript_words(text)
    own_transcript = transcript_in(rollout.reasoning)
    parts = {
        "own": _score(gold, own_transcript, graded),
        "asked": float(ASK in rollout.reasoning or action == "external"),
    }
    candidates = {"internal": own_transcript}
    if FIELD in prompt.fields:
        candidates["external"] = candidate_of(prompt)
        parts["external"] = _score(gold, candidates["external"], graded)
    reason = "" if score == 1 else f"read '{text[:100]}'"
    if action is None:
        problem = "no action before the answer" if needs_action else ""
    elif action == "rewrite":
        problem = ""
    elif action not in candidates:
        problem = f"{sign_of(action)} names a transcript that the prompt does not have"
    else:
        # Else a policy would be paid for its own words under another's name.
        is_copy = transcript_words(candidates[action]) == words
        problem = "" if is_copy else f"{sign_of(action)} names '{candidates[action][:100]}', not '{text[:100]}'"
    return Verdict(0.0 if problem else score, parts, reason=problem or reason, read=" ".join(words))


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
    Case("<think>\n7 3 5\n</think>\n<internal>7 3 5", "7 3 9 1", score=(0.5, 0.5), args={"graded": True}),
    Case("<think>\n7 3 5\n</think>\n<internal>,\n7 3 5", "7 3 5"),  # a whole token was written, `>,`
    # Words under another's name:
    Case("<think></think><internal>7 3 9", "7 3 9", score=(0.0, 0.0), fields=_HEARD),
    Case("<think>7 3 5</think><internal>7 3 9", "7 3 9", score=(0.0, 0.0), args={"graded": True}),
    Case(
        "<think>7 3 5<ask>7 3 5</ask></think><external>7 3 9", "7 3 9", score=(0.0, 0.0), fields={"external": "7 3 5"}
    ),
    Case("<think>7 3</think><internal>7 3 9", "7 3 9", score=(0.0, 0.0), args={"needs_action": False}),
    Case("<think>7 3</think><external>7 3 9", "7 3 9", score=(0.0, 0.0)),
    Case("<external>", "7 3 9", equal=False, fields={"external": ""}),
    Case("<think>\n7 3 9", "7 3 9", equal=False, fields=_HEARD),
]
