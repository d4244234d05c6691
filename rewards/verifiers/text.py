"""Equality of text: character for character, regardless of case and punctuation, or by the F1 of its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import cast

from rewards.answers.texts import answer_text, normalise_text
from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

# as a column of floats writes a whole number, or one so large or small that it takes a power of ten: 42.0, 3e+20, 1.5e-07
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,15})\.0|-?[1-9](?:\.[0-9]{1,16})?e[-+][0-9]{2,3}")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?|\.[0-9]{1,400})(?:e[-+]?[0-9]{1,3})?")


def verify(prompt: Prompt, rollout: Rollout, *, normalise: bool = True, f1: bool = False) -> Verdict:
    """Score 1.0 where the response is the gold answer, or one of `prompt.fields['answers']`, else 0.0; with `f1` the
    harmonic mean of word precision and recall (as in SQuAD) against the best of these answers. A gold that a column of
    floats wrote (42.0, 1e-05) means its value: 42 is right. With `normalise: false` every character counts but surrounding
    space. Raises ValueError for a prompt without an answer."""
    golds = [prompt.answer] if prompt.answer is not None else []
    golds += _read_answers(prompt)
    if not golds:
        raise ValueError(f"prompt '{prompt.id}' has no answer to compare with")
    pred, golds = answer_text(rollout.response), [gold.strip() for gold in golds]
    if normalise:
        pred, golds = normalise_text(pred), [normalise_text(gold) for gold in golds]
    # `pred == gold != ""`: a gold without words, say only punctuation, must not make an empty answer right
    preds = [_write_as_float(pred, gold) if normalise else pred for gold in golds]
    scores = [_f1(p, gold) if f1 else float(p == gold != "") for p, gold in zip(preds, golds, strict=True)]
    return Verdict(max(scores), reason="" if max(scores) == 1.0 else f"read '{pred[:100]}'", read=pred)


def _read_answers(prompt: Prompt) -> list[str]:
    """Return the answers in the column `answers`: a list of them, a single one, or SQuAD's mapping with those under
    `text`. Raises ValueError for any other mapping."""
    answers = prompt.fields.get("answers")
    if isinstance(answers, Mapping):
        columns = cast(Mapping[str, object], answers)
        if "text" not in columns:
            keys = ", ".join(map(str, columns)) or "nothing"
            raise ValueError(
                f"prompt '{prompt.id}': answers is a mapping of {keys}; give a list of texts or {{text: […]}}"
            )
        answers = columns["text"]
    items = cast(Sequence[object], answers) if isinstance(answers, list | tuple) else [answers]
    return [str(item) for item in items if item is not None]


def _f1(pred: str, gold: str) -> float:
    pred_words, gold_words = Counter(pred.split()), Counter(gold.split())
    common = (pred_words & gold_words).total()
    # 2 P R / (P + R) with P = common / pred words and R = common / gold words
    return 2 * common / (pred_words.total() + gold_words.total()) if common else 0.0


def _write_as_float(pred: str, gold: str) -> str:
    """Return the answer with its numbers in the gold's form where a column of floats wrote the gold and they are equal.
    Only the forms that such a column alone writes: 3.5 and 1.10 may as well be text (a version, a time) and stay so."""
    if not _FLOAT.fullmatch(gold):
        return pred
    return " ".join(gold if _NUMBER.fullmatch(w) and Decimal(w) == Decimal(gold) else w for w in pred.split())


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
    Case("42", "42.0", args={"normalise": True}),
    Case("0.00001", "1e-05", args={"normalise": True}),
    Case("420", "42.0", equal=False),
    Case("1.1", "1.10", equal=False),
    Case("b c", "a b c", equal=False),
    Case("<think>olleh", "olleh", equal=False),
    Case("olleh hello", "olleh", equal=False),
    Case("a dog and a cat", "dog and cat", score=(0.85, 0.86), args={"f1": True, "normalise": True}),
    Case("Paris", None, fields={"answers": ["paris", "city of light"]}, args={"normalise": True}),
    Case("", "olleh", equal=False),
]
