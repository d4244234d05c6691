"""A transcript: one minus its word (or character) error rate against the reference, at least 0."""

from __future__ import annotations

import unicodedata

import jiwer

from rewards.contract import Case
from rewards.verifiers.text import answer_text
from rl.types import Prompt, Rollout, Verdict

_LONGEST = 20  # times as many words as the reference: what is longer has an error rate above 1 anyhow


def verify(prompt: Prompt, rollout: Rollout, *, characters: bool = False, normalise: bool = True) -> Verdict:
    """max(0, 1 − WER); with `characters` the CER, for scripts without spaces. Unless `normalise` is off, case and
    punctuation do not count. Parts: `wer` and its insertions, deletions and substitutions for each word of the
    reference. Raises ValueError without a reference."""
    reference = _words(prompt.answer or "", normalise)
    if not reference:
        raise ValueError(f"prompt '{prompt.id}' has no transcript to compare with")
    heard = _words(answer_text(rollout.response), normalise)
    if characters:
        reference, heard = list("".join(reference)), list("".join(heard))
    heard = heard[: _LONGEST * len(reference)]
    if not heard:
        return Verdict(0.0, {"wer": 1.0, "deletions": 1.0}, reason="nothing transcribed")
    counted = jiwer.process_words(" ".join(reference), " ".join(heard))
    each = {kind: getattr(counted, kind) / len(reference) for kind in ("insertions", "deletions", "substitutions")}
    reason = "" if counted.wer == 0 else f"error rate {counted.wer:.2f}"
    parts = {"wer": float(counted.wer), **each}
    return Verdict(max(0.0, 1.0 - counted.wer), parts, reason=reason, read=" ".join(heard))


def _words(text: str, normalise: bool) -> list[str]:
    if normalise:
        text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
        text = "".join(c if c.isalnum() or c in "'" or unicodedata.combining(c) else " " for c in text)
    return [word for word in (w.strip("'") if normalise else w for w in text.split()) if word]


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
