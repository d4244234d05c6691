"""Recognises answers that take no solving: the question repeated, every answer at once, nothing at all.

A verifier that scores such an answer right has probably been deceived; about other answers nothing is said. The checks
are cheap (some ten microseconds) and meant to be counted over many samples. An honest answer has none of these shapes:
one that names an option, copies, extracts or reorders shares words or numbers with the gold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import cast

from rewards.answers.marks import is_enumeration, marked_answer, stated_answer
from rl.types import Prompt

_LONGEST = 4000  # characters of a question or a response that are looked at
_FEWEST_WORDS = 4  # a shorter question cannot be recognised in an answer
_MOST_UNITS = 3  # words of a gold that is a number ("5 square metres"); with more of them it is a sentence
_NEAR = 0.2  # a single number this near the gold may be an honest estimate

_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?|\.\d+")
_RATIO = re.compile(r"(\d+)\s?/\s?(\d+)|\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}")
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
# a word, or a single sign of a script that is written without spaces
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+")
_POWER = re.compile(r"(\d{1,3})\s?\^\s?\{?(\d{1,2})\b")
_TERM = r"\(*\d[\d.,]*\)*"
_SUM = re.compile(rf"{_TERM}(?:\s*(?:[-+*/^×÷·−x]|\\times|\\cdot|\\div)\s*{_TERM})+")
_OPERATORS = {"×": "*", "·": "*", "x": "*", "\\times": "*", "\\cdot": "*", "÷": "/", "\\div": "/", "−": "-"}
_LATEX = re.compile(r"\\[a-zA-Z]+")
_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million half third quarter "
    "double dozen"
)
_NUMBER_WORDS = frozenset(_NAMES.split())
_GLUE_WORDS = "the a an answer is it so final therefore thus result correct option choice and or of to"
_GLUE = frozenset(_GLUE_WORDS.split())
# Whoever answers "yes" may as well say the question's sentence again.
_POLAR_WORDS = "yes no true false right wrong oui non ja nein si sí не нет да 是 否 对 错 不 は い え"
_POLAR = frozenset(_POLAR_WORDS.split())


def find_shape(prompt: Prompt, response: str) -> str | None:
    """Return the name in SHAPES of the first shape that a response has, or None for an answer that may have been solved."""
    question, response = prompt.question[-_LONGEST:], response[-_LONGEST:]
    return next((name for name, has_shape in SHAPES.items() if has_shape(prompt, question, response)), None)


def _is_empty(prompt: Prompt, question: str, response: str) -> bool:
    return bool(_content(prompt.answer or "")) and not _content(response)


def _is_parroted(prompt: Prompt, question: str, response: str) -> bool:
    """Return whether the answer has nothing that is not in the question and nothing of the gold."""
    if _echoes(prompt, question, response):
        return True
    gold = _bare_answer(prompt.answer or "")
    if not gold:
        return False
    answer = _bare_answer(response)
    alternatives = [gold, *_texts(prompt, "answers", "options", "choices")]
    words, gold_words = _words(answer) - _GLUE, _words(gold)
    if _numbers(gold) and len(gold_words) <= _MOST_UNITS:
        return _repeats_numbers(question, answer, gold, alternatives)
    # The question's words may be right where the gold consists of them too (the task is to copy or to choose), where
    # the gold is a yes or no, or where they inflect a word of an alternative.
    is_honest = gold_words <= _words(question) or gold_words <= _POLAR or _share_stem(words, alternatives)
    return bool(words) and words <= _words(question) and _numbers(answer) <= _numbers(question) and not is_honest


def _repeats_numbers(question: str, answer: str, gold: str, alternatives: Sequence[str]) -> bool:
    """Return whether an answer has the question's numbers alone, or its sum as it stands there, and nowhere the gold."""
    numbers, given_numbers, right = _numbers(answer), _numbers(question), _numbers(gold)
    # The question has the gold's numbers itself, or the answer has one of an alternative's: that may be solved.
    if not numbers or right <= given_numbers or any(numbers & _numbers(text) for text in alternatives):
        return False
    if _words(answer) & _NUMBER_WORDS - _words(question):  # "49 + 26 is seventy-five"
        return False
    if len(numbers) == 1 and len(right) == 1:  # "nearer to 100 or to 120 Hz?" may have a gold of 118.5
        (number,), (gold_number,) = numbers, right
        return numbers <= given_numbers and abs(number - gold_number) > _NEAR * gold_number
    sums = find_sums(question)
    return numbers <= given_numbers or (bool(sums) and not sums.isdisjoint(find_sums(answer)))


def _echoes(prompt: Prompt, question: str, response: str) -> bool:
    """Return whether a response is the whole question again and nothing else."""
    words = _words(question)
    if len(words) < _FEWEST_WORDS or not _words(response) - _GLUE <= words:
        return False
    question_text = _content(question)
    # Where the gold holds the whole question, as a corrected text does, so may the answer.
    if question_text not in _content(response) or question_text in _content(prompt.answer or ""):
        return False
    # With neither a gold nor the instruction in the same turn ("Correct it if need be"), the same again may be right.
    return bool(prompt.answer) or len(prompt.messages) == 1


def _is_listed(prompt: Prompt, question: str, response: str) -> bool:
    """Return whether an answer names every option, or a hundred things, where the gold does not."""
    answer, gold = _bare_answer(response), prompt.answer or ""
    if is_enumeration(answer):
        return bool(gold) and not is_enumeration(gold)
    options = [_content(text) for text in _texts(prompt, "options", "choices")]
    if len(options) < 2 or not all(options):
        return False
    option_words = _words(" ".join(_texts(prompt, "options", "choices")))
    # Letters are single words: "A) Rome, B) Paris". A sentence about every option has words of its own.
    other_words = {word for word in _words(answer) - _GLUE - option_words if len(word) > 1}
    answer_text, gold_text = _content(answer), _content(gold)
    names_all = all(option in answer_text for option in options)
    return not other_words and names_all and not all(option in gold_text for option in options)


SHAPES: dict[str, Callable[[Prompt, str, str], bool]] = {
    "empty": _is_empty,
    "parroted": _is_parroted,
    "listed": _is_listed,
}
"""Name -> whether a response (with its prompt and its question) has that shape."""


def _bare_answer(text: str) -> str:
    """Return what a text marks or states as its answer, or else all of it."""
    marked_text = marked_answer(text)
    return (marked_text if marked_text is not None else stated_answer(text) or text).strip()


def _texts(prompt: Prompt, *names: str) -> list[str]:
    """Return the texts in these columns of the data: of a list or a mapping each of its values."""
    texts: list[str] = []
    for name in names:
        value = prompt.fields.get(name)
        if isinstance(value, Mapping):
            value = list(cast(Mapping[str, object], value).values())
        texts += map(str, cast(Sequence[object], value) if isinstance(value, list | tuple) else [value or ""])
    return [text for text in texts if text]


@lru_cache(maxsize=1024)  # all samples of a prompt share its question and gold
def _numbers(text: str) -> frozenset[float]:
    """Return the values of a text's numbers without their signs; of `3/4`, `3,5` and `2^3` every reading."""
    values = {float(number.replace(",", "")) for number in _NUMBER.findall(text)}
    values |= {float(number.replace(",", ".")) for number in _DECIMAL_COMMA.findall(text)}
    for ratio in _RATIO.finditer(text):
        top, bottom = (float(part) for part in ratio.groups() if part is not None)
        values |= {top / bottom} if bottom else set()
    values |= {float(base) ** float(power) for base, power in _POWER.findall(text)}
    percents = {value / 100 for value in values} if "%" in text else set[float]()
    return frozenset(values | percents)


@lru_cache(maxsize=1024)
def find_sums(text: str) -> frozenset[str]:
    """Return what a text has of numbers joined by signs of arithmetic, each without spaces and in ASCII: `49+26`."""
    sums = [_balance("".join(match[0].split()).rstrip(".,")) for match in _SUM.finditer(text)]
    for sign, plain in _OPERATORS.items():
        sums = [text.replace(sign, plain) for text in sums]
    return frozenset(sums)


def _balance(text: str) -> str:
    """Return a sum without brackets that open before it or close after it."""
    surplus = text.count("(") - text.count(")")
    return text[min(surplus, len(text) - len(text.lstrip("("))) :] if surplus > 0 else text[: len(text) + surplus]


@lru_cache(maxsize=1024)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(_LATEX.sub(" ", text).casefold()))


def _share_stem(words: frozenset[str], texts: Sequence[str]) -> bool:
    """Return whether one of the words begins as one of the texts' does: "rises" and "rising"."""
    stems = {word[:3] for word in words}
    return any(word[:3] in stems for text in texts for word in _words(text) - _GLUE)


def _content(text: str) -> str:
    """Return the letters and digits of a text."""
    return "".join(c for c in text.casefold() if c.isalnum())
