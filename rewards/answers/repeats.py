"""Tells answers that only repeat the question."""

from __future__ import annotations

import re

from rewards.answers.kinds import Answer, Number
from rewards.answers.notation import EDGE, WORD_MARK, plain
from rewards.answers.values import PRODUCT

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TOKEN = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+|\\?[a-zA-Z]+|\S")


def repeats_question(pred: Answer, gold: str, question: str, digits_may: bool) -> bool:
    """Return whether an answer only repeats what the question holds: its expression (49+26), unless the gold is written
    so, or a product of its numbers that is left to be worked out. With `digits_may`, a number in digits may come from the
    question: of two numbers in it one may be the answer."""
    question_tokens, answer = tokens(plain(question)), tokens(pred.text)
    if not question or answer == tokens(gold):
        return False
    if isinstance(pred, Number):
        if PRODUCT in pred.value.undone:
            return set(filter(_NUMBER.fullmatch, answer)) <= set(question_tokens)
        if pred.value.is_digits and digits_may:
            return False
    starts = range(len(question_tokens) - len(answer) + 1) if answer else ()
    return any(question_tokens[start : start + len(answer)] == answer for start in starts)


def tokens(text: str) -> list[str]:
    """Return the numbers, names and signs of a plain text."""
    return _TOKEN.findall(text.replace(EDGE, " ").replace(WORD_MARK, ""))
