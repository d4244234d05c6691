"""Equality of text: character for character, regardless of case and punctuation, or by the F1 of its words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import cast

from rewards.answers.marks import ANSWER_TAGS
from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_ARTICLE = re.compile(r"(?:the|an?) (?=\w\w)")  # not before a single letter: in "a b c" the a is content
_EDGES = ".,;:!?¡¿\"'`“”‘’«»()[]{}*_。，！？"
_LEFT_EDGE = re.compile(rf"^(?:(?!\.\d)[{re.escape(_EDGES)}])+")  # the point of .5 stays


def verify(prompt: Prompt, rollout: Rollout, *, normalise: bool = True, f1: bool = False) -> Verdict:
    """Score 1.0 where the response is the gold answer, or one of `prompt.fields['answers']`, else 0.0; with `f1` the
    harmonic mean of word precision and recall (as in SQuAD) against the best of these answers. With `normalise: false`
    every character counts but surrounding space. Raises ValueError for a prompt without an answer."""
    golds = [prompt.answer] if prompt.answer is not None else []
    golds += [str(answer) for answer in cast(Sequence[object], prompt.fields.get("answers", ()))]
    if not golds:
        raise ValueError(f"prompt '{prompt.id}' has no answer to compare with")
    pred, golds = answer_text(rollout.response), [gold.strip() for gold in golds]
    if normalise:
        pred, golds = normalise_text(pred), [normalise_text(gold) for gold in golds]
    # `pred == gold != ""`: an empty gold, say of punctuation alone, must not make the empty answer right
    score = max(_f1(pred, gold) if f1 else float(pred == gold != "") for gold in golds)
    return Verdict(score, reason="" if score == 1.0 else f"read '{pred[:100]}'", read=pred)


def _f1(pred: str, gold: str) -> float:
    pred_words, gold_words = Counter(pred.split()), Counter(gold.split())
    common = (pred_words & gold_words).total()
    # 2 P R / (P + R) with P = common / pred words and R = common / gold words
    return 2 * common / (pred_words.total() + gold_words.total()) if common else 0.0


def answer_text(response: str) -> str:
    """Return the contents of the last `<answer>` tags, or the whole response where there are none."""
    contents = ANSWER_TAGS.findall(response)
    return (contents[-1] if contents else response).strip()


def normalise_text(text: str) -> str:
    """Return the words in lower case, without punctuation at their edges (3.5, -3 and don't stay whole) and without a
    leading article. A text of punctuation alone stays."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    bare = " ".join(filter(None, (_LEFT_EDGE.sub("", word.rstrip(_EDGES)) for word in plain.split(" "))))
    article = _ARTICLE.match(bare)
    return bare[article.end() :] if article else bare or plain


GOLD = [
    Case("olleh", "olleh"),
    Case("<think>h e l l o backwards</think> olleh", "olleh"),
    Case("New York", "New York"),
    Case("1,2", "12", equal=False),
    Case("  Hello,   WORLD!\n", "hello world", args={"normalise": True}),
    Case("<answer>The capital of France is Paris.</answer>", "capital of france is paris", args={"normalise": True}),
    Case("Hello", "hello", equal=False, args={"normalise": False}),
    Case("3.5", "35", equal=False),
    Case("-3", "3", equal=False),
    Case("b c", "a b c", equal=False),
    Case("<think>olleh", "olleh", equal=False),
    Case("olleh hello", "olleh", equal=False),
    Case("a dog and a cat", "dog and cat", score=(0.85, 0.86), args={"f1": True, "normalise": True}),
    Case("Paris", None, fields={"answers": ["paris", "city of light"]}, args={"normalise": True}),
    Case("", "olleh", equal=False),
]
