"""Hearing again: 1 where a sound was put into the answer and the answer is right; a tag that was only written earns nothing.

Echo (arXiv 2602.11909) rewards stretches that the policy asks to hear again. Its released code counts tags, also those behind
which nothing was heard; here the environment's replies are counted (docs/turns.md, `listen`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rewards.contract import Case
from rewards.verifiers import choice, math, numeric, text
from rl.messages import AUDIO_PATCH, Clip, Exchange, Message, Reply
from rl.types import Prompt, Rollout, Verdict

_VERIFIERS: dict[str, Callable[[Prompt, Rollout], Verdict]] = {
    "text": text.verify,
    "choice": choice.verify,
    "math": math.verify,
    "numeric": numeric.verify,
}


def verify(
    prompt: Prompt, rollout: Rollout, *, accuracy: Literal["text", "choice", "math", "numeric"] = "text"
) -> Verdict:
    """Score 1.0 where at least one sound that a reply brought was heard on the way and the answer is right by the verifier
    `accuracy`, else 0.0. Parts: `heard`, the number of sounds."""
    # A reply that ended the rollout was not heard any more.
    sounds = sum(len(exchange.reply.clips) for exchange in rollout.exchanges if not exchange.reply.last)
    if not sounds:
        return Verdict(0.0, {"heard": 0.0}, reason="nothing was heard again")
    verdict = _VERIFIERS[accuracy](prompt, rollout)
    reason = "" if verdict.score >= 0.5 else f"heard again, and wrong: {verdict.reason}"
    return Verdict(float(verdict.score >= 0.5), {"heard": float(sounds)}, reason=reason)


_TAG = "<think>in <seg>1.0, 2.0</seg>"
_SOUND = Reply((Message("assistant", AUDIO_PATCH),), (Clip(path="stretch.flac"),), note="listen")
_HEARD = (Exchange(_TAG, _SOUND, 9, 22),)
_REFUSED = (Exchange(_TAG, Reply(note="too_short"), 9, 9),)
_UNREAD = (Exchange(_TAG, Reply(clips=_SOUND.clips, last=True), 9, 9),)
GOLD = [
    Case(f"{_TAG}{AUDIO_PATCH} a dog barks</think>dog", "dog", exchanges=_HEARD),
    Case(f"{_TAG}{AUDIO_PATCH} a cat purrs</think>cat", "dog", equal=False, exchanges=_HEARD),
    # The released code pays these: a tag that was only written, with or without an environment.
    Case(f"{_TAG} a dog barks</think>dog", "dog", score=(0.0, 0.0)),
    Case(f"{_TAG} a dog barks</think>dog", "dog", score=(0.0, 0.0), exchanges=_REFUSED),
    Case(f"{_TAG}{AUDIO_PATCH} a dog barks</think>dog", "dog", score=(0.0, 0.0)),
    Case(f"{_TAG} a dog barks</think>dog", "dog", score=(0.0, 0.0), exchanges=_UNREAD),
    Case("<think>a dog barks</think>dog", "dog", equal=False),
]
