"""The same text: word for word after case, spacing, outer punctuation and a leading article are evened out."""

from __future__ import annotations

import re
import unicodedata

from rewards.verifiers import Case
from rl.types import Prompt, Rollout, Verdict

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_ARTICLE = re.compile(r"(?:the|an?) (?=\w\w)")  # not before a single letter: in "a b c" the a is content
_EDGES = ".,;:!?¡¿\"'`“”‘’«»()[]{}*_。，！？"
_LEFT = re.compile(rf"(?:(?!\.\d)[{re.escape(_EDGES)}])+")  # the point of .5 stays


def verify(prompt: Prompt, rollout: Rollout, *, normalise: bool = True) -> Verdict:
    """1.0 where the response is the gold answer. With `normalise: false` every character counts, surrounding space
    apart."""
    if prompt.answer is None:
        raise ValueError(f"prompt '{prompt.id}' has no answer to compare with")
    pred, gold = answer_text(rollout.response), prompt.answer.strip()
    if normalise:
        pred, gold = normalised(pred), normalised(gold)
    return Verdict(score=float(pred == gold != ""), reason="" if pred == gold else f"read '{pred[:100]}'")


def answer_text(response: str) -> str:
    """What stands in the last `<answer>` tags, else the whole response."""
    tagged = _TAGGED.findall(response)
    return (tagged[-1] if tagged else response).strip()


def normalised(text: str) -> str:
    """Words in lower case, without punctuation at their edges (3.5, -3 and don't stay whole) or a leading article."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    bare = " ".join(filter(None, (_LEFT.sub("", word.rstrip(_EDGES), count=1) for word in plain.split(" "))))
    article = _ARTICLE.match(bare)
    return bare[article.end() :] if article else bare or plain


GOLD = [
    Case("olleh", "olleh"),
    Case("<think>h e l l o backwards</think> olleh", "olleh"),
    Case("New York", "New York"),
    Case("  Hello,   WORLD!\n", "hello world", args={"normalise": True}),
    Case("<answer>The capital of France is Paris.</answer>", "capital of france is paris", args={"normalise": True}),
    Case("Hello", "hello", equal=False, args={"normalise": False}),
    Case("3.5", "35", equal=False),
    Case("-3", "3", equal=False),
    Case("b c", "a b c", equal=False),
    Case("<think>olleh", "olleh", equal=False),
    Case("olleh hello", "olleh", equal=False),
    Case("", "olleh", equal=False),
]
