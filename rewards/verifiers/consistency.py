"""Sentences that go on behind what is heard again: each tag with a capital or another tag behind it costs a fifth.

Echo (arXiv 2602.11909) asks that the sentence in which the policy hears a stretch again goes on with what is heard there. Its
released code looks at the next character alone, so that `</seg> The` passes; here the next sign is looked at, as the paper has it.
"""

from __future__ import annotations

import re

from rewards.contract import Case
from rl.messages import AUDIO_PATCH, Exchange, Message, Reply
from rl.think import is_blank
from rl.types import Clip, Prompt, Rollout, Verdict

_QUOTES = "\"'`*_~([{«»„“”‘’‚「『（"
"""Signs that may open what stands behind a tag: the letter behind them is looked at."""
_PRONOUN = re.compile(r"I(?![^\W_])")
MOST_BREAKS = 5
"""Broken sentences that cost the whole score: 0.1 each of at most 0.5, with Echo's weight of 0.5."""


def verify(prompt: Prompt, rollout: Rollout, *, tag: str = "seg") -> Verdict:
    """Score 1.0 less a fifth for each `<seg>…</seg>` behind which the sentence breaks off: the next sign, past white space,
    quotes and the sound put in, is a capital letter (but for the pronoun I) or `<`. 1.0 without tags. Parts: `tags`,
    `broken`."""
    tags = [*re.finditer(rf"<{re.escape(tag)}>[^<>]*</{re.escape(tag)}>", rollout.text)]
    broken = [match for match in tags if _breaks_off(rollout.text[match.end() :])]
    reason = f"broken off behind {broken[0][0][:60]}" if broken else ""
    score = max(0.0, 1 - len(broken) / MOST_BREAKS)
    return Verdict(score, {"tags": float(len(tags)), "broken": float(len(broken))}, reason=reason)


def _breaks_off(rest: str) -> bool:
    """Return whether what follows a tag begins anew. A text that ends there does not."""
    rest = _skip(rest).removeprefix(AUDIO_PATCH)
    rest = _skip(rest)
    if rest.startswith("<"):
        return True
    rest = _skip(rest, _QUOTES)
    return rest[:1].isupper() and not _PRONOUN.match(rest)


def _skip(text: str, signs: str = "") -> str:
    """Return the text from the first sign that a reader sees and that is none of `signs`."""
    place = next((i for i, sign in enumerate(text) if not is_blank(sign) and sign not in signs), len(text))
    return text[place:]


_SOUND = Reply((Message("assistant", AUDIO_PATCH),), (Clip(path="stretch.flac"),), note="listen")
_HEARD = (Exchange("<think>in <seg>1.0, 2.0</seg>", _SOUND, 9, 22),)
GOLD = [
    Case("<think>in <seg>1.0, 2.0</seg>, a dog barks</think>dog", None),
    Case(f"<think>in <seg>1.0, 2.0</seg>{AUDIO_PATCH} a dog barks</think>dog", None, exchanges=_HEARD),
    Case("<think>in <seg>1.0, 2.0</seg> I hear a dog</think>dog", None),
    Case("<think>in <seg>1.0, 2.0</seg>是狗在叫</think>狗", None),
    Case("<think>a dog barks</think>dog", None),
    Case("<think>in <seg>1.0, 2.0</seg>The dog barks</think>dog", None, score=(0.8, 0.8)),
    Case("<think>in <seg>1.0, 2.0</seg> The dog barks</think>dog", None, equal=False),
    Case(f"<think>in <seg>1.0, 2.0</seg>{AUDIO_PATCH} “Écoute”</think>dog", None, equal=False, exchanges=_HEARD),
    Case("<think>in <seg>1.0, 2.0</seg></think>dog", None, equal=False),
    Case("<think>in <seg>1, 2</seg>" + "<seg>1, 2</seg>" * 6 + "</think>dog", None, score=(0.0, 0.0)),
]
