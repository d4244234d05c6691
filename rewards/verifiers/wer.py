"""A transcript: one minus its word (or character) error rate against the reference, and no less than 0."""

from __future__ import annotations

import jiwer

from rewards.answers.texts import answer_text
from rewards.answers.transcripts import LONGEST, transcript_words
from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, characters: bool = False, normalise: bool = True) -> Verdict:
    """Score max(0, 1 − WER); with `characters` 1 − CER, for scripts without spaces. Unless `normalise` is off, case and
    punctuation do not count. Parts: `wer`, and the insertions, deletions and substitutions per word of the reference.
    Raises ValueError without a reference."""
    reference = transcript_words(prompt.answer or "", normalise)
    if not reference:
        raise ValueError(f"prompt '{prompt.id}' has no transcript to compare with")
    transcript = transcript_words(answer_text(rollout.response), normalise)
    if characters:  # jiwer aligns words: each character becomes one
        reference, transcript = list("".join(reference)), list("".join(transcript))
    transcript = transcript[: LONGEST * len(reference)]
    if not transcript:
        return Verdict(0.0, {"wer": 1.0, "deletions": 1.0}, reason="nothing transcribed")
    alignment = jiwer.process_words(" ".join(reference), " ".join(transcript))
    parts = {
        "wer": float(alignment.wer),
        "insertions": alignment.insertions / len(reference),
        "deletions": alignment.deletions / len(reference),
        "substitutions": alignment.substitutions / len(reference),
    }
    reason = "" if alignment.wer == 0 else f"error rate {alignment.wer:.2f}"
    return Verdict(max(0.0, 1.0 - alignment.wer), parts, reason=reason, read=" ".join(transcript))


GOLD = [
    Case("<think>The speaker says</think> The cat sat.", "the cat sat", args={"normalise": True}),
    Case("Don’t stop!", "don't stop", args={"normalise": True}),
    Case("the cat sat", "the cat sat down", score=(0.75, 0.75), args={"characters": False}),
    Case("the bat sat down", "the cat sat down", score=(0.75, 0.75), args={"characters": False}),
    Case("the the cat sat down", "the cat sat down", score=(0.75, 0.75), args={"characters": False}),
    Case("今天天气很好", "今天天气真好", score=(0.83, 0.84), args={"characters": True}),
    Case("the cat sat", "a dog ran", score=(0.0, 0.0), args={"characters": False}),
    Case("", "the cat sat", score=(0.0, 0.0)),
    Case("yes " * 50, "no", equal=False),
]
